"""HTTP over a Unix socket, with a check of the server's user."""

from __future__ import annotations

import http.client
import os
import socket
import struct
from collections.abc import Iterable
from typing import Optional

from ._errors import NoServiceError, UntrustedServiceError
from ._find import SYSTEM_SOCKET, Places

#: `struct ucred`: process, user and group of the other side.
_UCRED = struct.Struct("iII")


def dial(path: str, timeout: Optional[float], trusted_uids: Iterable[int] = ()) -> socket.socket:
    """Connect to a Unix socket, and check the user of its server.

    Any user of the host can listen on a path that is free, so a server counts only if it runs as the
    caller, as root, or as a user that the caller trusts.
    """
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.settimeout(timeout)
        stream.connect(path)
        uid = _server_uid(stream)
        if uid not in _trusted(path, trusted_uids):
            raise UntrustedServiceError(
                f"the server on {path} runs as uid {uid}, which is neither you nor root, so its answers do "
                f"not count: name another socket, or trust it with trusted_uids=[{uid}]"
            )
    except BaseException:
        stream.close()
        raise
    return stream


def _server_uid(stream: socket.socket) -> int:
    credentials = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid


def _trusted(path: str, trusted_uids: Iterable[int]) -> set[int]:
    trusted = {0, os.geteuid(), *trusted_uids}
    if path == SYSTEM_SOCKET:
        # Root alone can make that folder, and gives it to the user of the service.
        trusted.add(os.stat(os.path.dirname(path)).st_uid)
    return trusted


class UnixConnection(http.client.HTTPConnection):
    """One HTTP connection to a service's socket."""

    def __init__(self, path: str, timeout: float, trusted_uids: Iterable[int]) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._trusted_uids = trusted_uids

    def connect(self) -> None:
        self.sock = dial(self._path, self.timeout, self._trusted_uids)


def no_service(places: Places, cause: OSError) -> NoServiceError:
    """Return the error for sockets where nothing listens, with the way out."""
    if places.is_named:
        return NoServiceError(
            f"no portbook service answers on {places.sockets[0]}: {cause.strerror or cause}. Start one there "
            "with `portbook serve`, or take the name away (PORTBOOK_SOCKET, or the client's argument)"
        )
    tried = ", ".join(places.sockets) or "no path: there is no home directory"
    return NoServiceError(
        f"no portbook service answers (tried {tried}). Start one with `portbook serve`, or have systemd start "
        "it: `portbook service install --user`. PORTBOOK_SOCKET names a service that listens elsewhere"
    )


def first_that_answers(
    places: Places, timeout: float, trusted_uids: Iterable[int]
) -> str:
    """Return the first socket on which a service accepts connections."""
    cause: OSError = FileNotFoundError("no socket to try")
    for path in places.sockets:
        try:
            dial(path, timeout, trusted_uids).close()
            return path
        except OSError as error:
            cause = error
    raise no_service(places, cause)
