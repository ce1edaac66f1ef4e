"""Sockets on which the client looks for a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from portbook import Client
from portbook._durations import in_seconds
from portbook._find import places

from conftest import Service

SYSTEM = "/run/portbook/portbook.sock"


def test_named_socket_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = places({"PORTBOOK_SOCKET": "/a.sock", "XDG_RUNTIME_DIR": "/run/user/1"}, is_root=False)
    assert found.sockets == ("/a.sock",) and found.is_named
    monkeypatch.chdir("/tmp")
    assert places({"PORTBOOK_SOCKET": "b.sock"}).sockets == ("/tmp/b.sock",)


@pytest.mark.parametrize(
    ("environ", "is_root", "sockets"),
    [
        ({"XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}, False, ("/run/user/1/portbook.sock", SYSTEM)),
        ({"HOME": "/h"}, False, ("/h/.local/state/portbook/portbook.sock", SYSTEM)),
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, False, ("/s/portbook/portbook.sock", SYSTEM)),
        ({"XDG_RUNTIME_DIR": "relative", "HOME": "/h"}, False, ("/h/.local/state/portbook/portbook.sock", SYSTEM)),
        ({}, False, (SYSTEM,)),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, True, (SYSTEM,)),
        ({"PORTBOOK_DATA_DIR": "/d", "XDG_RUNTIME_DIR": "/run/user/1"}, False, ("/d/portbook.sock",)),
        ({"PORTBOOK_SOCKET": "", "HOME": "/h"}, False, ("/h/.local/state/portbook/portbook.sock", SYSTEM)),
    ],
)
def test_places_follow_the_command(
    environ: dict[str, str], is_root: bool, sockets: tuple[str, ...]
) -> None:
    found = places(environ, is_root=is_root)
    assert found.sockets == sockets and not found.is_named


def test_service_with_a_socket_elsewhere_is_found_by_its_data_directory(
    shared_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTBOOK_DATA_DIR", str(shared_service.folder / "data"))
    assert Client().socket == shared_service.socket


def test_service_named_by_the_variable_is_found(
    shared_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTBOOK_SOCKET", shared_service.socket)
    assert Client().socket == shared_service.socket


def test_lock_file_without_a_socket_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4711\n")
    assert places({"PORTBOOK_DATA_DIR": str(tmp_path)}).sockets == (f"{tmp_path}/portbook.sock",)


@pytest.mark.parametrize(
    ("length", "seconds"), [("30s", 30), ("1h30m", 5400), ("250ms", 0.25), ("2 m", 120), (7, 7), ("soon", 0)]
)
def test_lengths_of_time_are_read(length: object, seconds: float) -> None:
    assert in_seconds(length) == seconds  # type: ignore[arg-type]
