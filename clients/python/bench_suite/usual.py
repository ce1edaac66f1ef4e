"""The usual fixture: bind port 0, read the number, close. A plugin that takes the place of portbook's `ports`."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest


@pytest.fixture
def ports() -> Callable[[int], list[int]]:
    """Return a function: `ports(3)` is a list of three ports that were free a moment ago."""
    return lambda count: [_port() for _ in range(count)]


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
