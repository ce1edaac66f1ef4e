"""A real service for the tests, and pytest runs within the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Optional

import pytest

from portbook import Client, NoServiceError

pytest_plugins = ["pytester"]

#: Settings of the machine that runs the tests do not count.
_FOREIGN = ("PORTBOOK_", "XDG_", "PYTEST_")


class Service:
    """A service in a folder of its own, without a console."""

    def __init__(self, **settings: str) -> None:
        # pytest's folders have paths that are too long for a Unix socket.
        self.folder = Path(tempfile.mkdtemp(prefix="pb"))
        self.socket = str(self.folder / "s.sock")
        self._settings = settings
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        environment.update({"HOME": str(self.folder), "PORTBOOK_CONSOLE__ENABLED": "false"})
        environment.update(self._settings)
        program = os.environ["PORTBOOK"]
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        arguments = ["serve", "--data-dir", str(self.folder / "data"), "--socket", self.socket]
        self._process = subprocess.Popen(
            [program, *arguments], env=environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                Client(self.socket).status()
                return
            except NoServiceError:
                assert self._process.poll() is None and time.monotonic() < deadline, "no service"
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Process id of the service."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def pause(self) -> None:
        """Have it accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self._process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and delete its folder."""
        with suppress(AssertionError):
            self.resume()
        self.stop()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def shared_service() -> Iterator[Service]:
    """A service for all tests of this process."""
    service = Service()
    yield service
    service.remove()


@pytest.fixture
def client(shared_service: Service) -> Client:
    """A client of the shared service."""
    return Client(shared_service.socket)


@pytest.fixture
def own_service() -> Iterator[Service]:
    """A service that a test may stop. Its pool `tiny` has two ports, and `hasty` gives a search no time."""
    service = Service(
        PORTBOOK_POOLS__TINY__RANGES="19990-19991",
        PORTBOOK_POOLS__HASTY__RANGES="19992-19999",
        PORTBOOK_POOLS__HASTY__ATTEMPT_TIMEOUT="1us",
    )
    yield service
    service.remove()


@pytest.fixture(autouse=True)
def no_service_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide services of this machine: a test names its own."""
    for name in list(os.environ):
        if name.startswith("PORTBOOK_"):
            monkeypatch.delenv(name)
    empty = tmp_path / "no-service"
    empty.mkdir(mode=0o700)
    monkeypatch.setenv("PORTBOOK_DATA_DIR", str(empty))


@pytest.fixture
def with_service(shared_service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Have the plugin in pytest runs of a test use the shared service."""
    monkeypatch.setenv("PORTBOOK_SOCKET", shared_service.socket)
    return shared_service


def wait_until(is_true: object, seconds: float = 10.0) -> None:
    """Wait until a function returns something true."""
    assert callable(is_true)
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        time.sleep(0.02)


PYTHON = sys.executable
