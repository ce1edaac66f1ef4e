"""Sources of ports for the pytest plugin: a service, or sockets of the test process itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Protocol

from . import _own
from ._client import Client, LeaseOptions
from ._errors import NoServiceError, PortbookError, RefusedError, ServiceError
from ._lease import Lease

if TYPE_CHECKING:
    from typing_extensions import Unpack


#: Limit on the search of the service for a port. Its own is 5 seconds, which a host that is busy with many tests
#: may need; a test would rather wait than fail.
SEARCH_SECONDS = 60


@dataclass(frozen=True)
class Terms:
    """Settings of one test."""

    #: Pool of the service. `None` for the service's `default`.
    pool: Optional[str] = None
    #: `gate` or `release`.
    handover: str = "gate"


@dataclass(frozen=True)
class Held:
    """A port that a test has, and the way to give it back."""

    port: int
    give_back: Callable[[], None]


class Source(Protocol):
    """A giver of ports."""

    #: Path of the service's socket. `None` for sockets of this process.
    service: Optional[str]

    def take(self, count: int, terms: Terms) -> list[Held]:
        """Return ports that nothing else takes until they are given back."""

    def listen(self, terms: Terms) -> tuple[socket.socket, Held]:
        """Return a socket that listens on 127.0.0.1, with its port."""

    def in_the_way(self, port: int) -> Optional[str]:
        """Return the programs on a port in words; `None` if nothing is known."""


class ServiceSource:
    """Leases of a service. They end with this process, however it ends."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.service: Optional[str] = client.socket

    def take(self, count: int, terms: Terms) -> list[Held]:
        if count == 0:
            return []
        leases = self._client.lease(count=count, **_options(terms, handover=terms.handover))
        return [self._held(lease) for lease in leases]

    def listen(self, terms: Terms) -> tuple[socket.socket, Held]:
        # With ::1 kept too, `localhost` is this test alone.
        lease = self._client.lease(**_options(terms, handover="fd", interfaces=["loopback"]))
        try:
            passed = self._client.sockets(lease)
            listener = _only(passed, "127.0.0.1")
        except BaseException:
            self._give_back(lease)
            raise
        return listener, self._held(lease)

    def in_the_way(self, port: int) -> Optional[str]:
        try:
            occupants = self._client.who(port).occupants
        except PortbookError:
            return None
        programs = (
            f"{each.command or 'a program'} (pid {each.pid}) {each.state} on {', '.join(each.addresses)}"
            for each in occupants
            if each.pid is not None
        )
        return "; ".join(programs) or None

    def _held(self, lease: Lease) -> Held:
        return Held(lease.port, lambda: self._give_back(lease))

    def _give_back(self, lease: Lease) -> None:
        try:
            self._client.release(lease, missing_ok=True)
        except ServiceError:
            # A service that has gone, or that starts again, ends the lease with this process at the latest.
            pass


class OwnSource:
    """Sockets of this process. They end with it too."""

    service: Optional[str] = None

    def take(self, count: int, terms: Terms) -> list[Held]:
        held: list[Held] = []
        try:
            for _ in range(count):
                kept = _own.hold_port(terms.handover)
                held.append(Held(kept.port, kept.release))
        except BaseException:
            for each in held:
                each.give_back()
            raise
        return held

    def listen(self, terms: Terms) -> tuple[socket.socket, Held]:
        listener, kept = _own.listen()
        return listener, Held(kept.port, kept.release)

    def in_the_way(self, port: int) -> Optional[str]:
        return None


def _only(passed: list[socket.socket], address: str) -> socket.socket:
    """Return the socket on an address, and close the others."""
    wanted = [each for each in passed if each.getsockname()[0] == address]
    for each in passed:
        if each not in wanted:
            each.close()
    if not wanted:
        raise ServiceError(f"the service has no {address} among the addresses of its loopback interface")
    return wanted[0]


def choose(service: str) -> Source:
    """Return the source for the setting `portbook_service`: `auto`, `always` or `never`."""
    if service == "never":
        return OwnSource()
    try:
        client = Client()
        client.check_network()
    except NoServiceError:
        # A service that was named must answer: two runs that believe to share one would be apart.
        if service == "always" or os.environ.get("PORTBOOK_SOCKET"):
            raise
        return OwnSource()
    except RefusedError:
        # Its ports are of no use here.
        if service == "always":
            raise
        return OwnSource()
    return ServiceSource(client)


def _options(terms: Terms, **options: Unpack[LeaseOptions]) -> LeaseOptions:
    options["timeout"] = SEARCH_SECONDS
    if terms.pool is not None:
        options["pool"] = terms.pool
    return options
