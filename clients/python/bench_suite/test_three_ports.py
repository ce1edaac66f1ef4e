"""The suite of the proof: each test takes three ports, starts a server on each and connects to it.

PROVE_TESTS is the number of tests. PROVE_START is the time in seconds that a server needs before it binds: an
interpreter that starts and imports a web framework needs a good deal more.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import pytest

TESTS = int(os.environ.get("PROVE_TESTS", "400"))
START = float(os.environ.get("PROVE_START", "0.02"))


@pytest.mark.parametrize("number", range(TESTS))
def test_three_servers(ports: Callable[[int], list[int]], number: int) -> None:
    numbers = ports(3)
    assert len(set(numbers)) == 3
    time.sleep(START)
    servers = []
    try:
        for port in numbers:
            server = socket.socket()
            servers.append(server)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
        for server in servers:
            check(server, number)
    finally:
        for server in servers:
            server.close()


def check(server: socket.socket, number: int) -> None:
    """Connect to a server, and see that it is this test's own that answers."""
    word = f"{os.getpid()}/{number}".encode()
    with socket.create_connection(server.getsockname(), timeout=10) as client:
        client.sendall(word)
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(100) == word
