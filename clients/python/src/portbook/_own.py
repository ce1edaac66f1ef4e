"""Ports without a service: sockets of this process keep them.

A hold is a socket that is bound to the port and never listens. It is bound strictly, without SO_REUSEADDR,
and the kernel refuses that if anything at all is on the address: the bind is the check and the lock in one.
Then SO_REUSEADDR is switched on, so that a server that sets it too can bind and listen beside the hold,
while `bind(0)`, `connect()` and strict binds stay away. The kernel ends a hold with its process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from ._errors import PortbookError
from ._numbers import candidates

#: Numbers that are tried for one port before it is given up.
MAX_ATTEMPTS = 500

#: Errors of a bind that mean another number: taken, or kept back by the system.
_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})

#: Errors that mean a host without IPv6.
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})

HANDOVERS = ("gate", "release")


class NoFreePortError(PortbookError):
    """No number could be bound within the limit of attempts."""


@dataclass(eq=False)
class OwnPort:
    """A TCP port that this process keeps. A context manager that releases it at its end."""

    port: int
    _sockets: list[socket.socket] = field(repr=False)

    def release(self) -> None:
        """Close the sockets that keep the port."""
        while self._sockets:
            self._sockets.pop().close()

    def __enter__(self) -> OwnPort:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()


def hold_port(handover: str = "gate") -> OwnPort:
    """Keep a free TCP port on 127.0.0.1 and ::1.

    With the hand-over `gate` a server that sets SO_REUSEADDR binds beside the hold. With `release` the hold
    is closed here, for servers that do not set it. Other processes that use this function still pass the
    number over, and the kernel gives it to no program by itself, but one that aims at it could take it.
    """
    if handover not in HANDOVERS:
        raise ValueError(f"the hand-over {handover!r} needs a service: without one it is {' or '.join(HANDOVERS)}")
    kept = _keep()
    # The first socket is the claim, which stays; the others are the holds.
    if handover == "release":
        _close(kept._sockets[1:])
        del kept._sockets[1:]
    for hold in kept._sockets[1:]:
        hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return kept


def listen(backlog: int = 128) -> tuple[socket.socket, OwnPort]:
    """Return a socket that listens on 127.0.0.1, and the port that it is on.

    The socket itself was bound strictly, so at no time could another program bind the port.
    """
    kept = _keep()
    listener = kept._sockets.pop(1)
    try:
        listener.listen(backlog)
    except BaseException:
        listener.close()
        kept.release()
        raise
    return listener, kept


def _keep() -> OwnPort:
    tried = 0
    for number in _numbers.draw():
        tried += 1
        bound = _bind(number)
        if bound is not None:
            return OwnPort(number, bound)
    raise NoFreePortError(
        f"none of {tried} numbers that were tried is free. They lie outside the range that the kernel gives to "
        "outgoing connections (/proc/sys/net/ipv4/ip_local_port_range) and its ip_local_reserved_ports. "
        "`ss -ltnp` shows the programs that listen; a service, `portbook serve`, has a pool of its own"
    )


def _bind(number: int) -> Optional[list[socket.socket]]:
    """Return a claim and the holds on a number; `None` if it is taken."""
    bound: list[socket.socket] = []
    try:
        bound.append(_claim(number))
        bound.append(_bind_strictly(socket.AF_INET, "127.0.0.1", number))
        with _without_ipv6_ignored():
            bound.append(_bind_strictly(socket.AF_INET6, "::1", number))
        return bound
    except OSError as error:
        _close(bound)
        if error.errno in _TAKEN:
            return None
        raise
    except BaseException:
        _close(bound)
        raise


def _claim(number: int) -> socket.socket:
    """Bind a name that only this package uses, so that its processes share out released numbers too.

    Abstract names belong to the network namespace, as ports do, and end with their process.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0portbook-python-port-{number}")
    except BaseException:
        claim.close()
        raise
    return claim


def _bind_strictly(family: socket.AddressFamily, address: str, number: int) -> socket.socket:
    hold = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            hold.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        hold.bind((address, number))
    except BaseException:
        hold.close()
        raise
    return hold


@contextlib.contextmanager
def _without_ipv6_ignored() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


class _Numbers:
    """Candidates in turn, from a start that each process draws at random.

    Going on from there means that a number just released rests for a while, and that workers rarely meet.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid: Optional[int] = None
        self._all: list[int] = []
        self._next = 0

    def draw(self) -> Iterator[int]:
        """Yield the numbers to try for one port."""
        with self._lock:
            # A forked child draws a start of its own. The system's generator does not care for seeds that
            # plugins set so that tests are the same in each worker.
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._all = candidates()
                self._next = random.SystemRandom().randrange(max(1, len(self._all)))
        for _ in range(min(MAX_ATTEMPTS, len(self._all))):
            with self._lock:
                number = self._all[self._next % len(self._all)]
                self._next += 1
            yield number


_numbers = _Numbers()
