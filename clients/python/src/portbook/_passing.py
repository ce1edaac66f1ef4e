"""Sockets that the service bound and passes on, over its second Unix socket."""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Iterable

from ._connection import dial
from ._errors import RefusedError

#: Maximum number of sockets in an answer: one lease has one for each address.
_MOST_SOCKETS = 253

#: Size of a descriptor in bytes.
_INT = array.array("i").itemsize


def fetch(
    api_socket: str, lease_id: str, timeout: float, trusted_uids: Iterable[int]
) -> list[socket.socket]:
    """Return the sockets of a lease. They listen already, and are ours to close."""
    path = os.path.splitext(api_socket)[0] + ".fds.sock"
    with dial(path, timeout, trusted_uids) as stream:
        stream.sendall(json.dumps({"lease": lease_id}).encode() + b"\n")
        # `socket.recv_fds` ignores its flags. Without this one a program that another thread starts in this
        # moment would inherit the sockets.
        line, ancillary, _, _ = stream.recvmsg(
            65536, socket.CMSG_LEN(_MOST_SOCKETS * _INT), socket.MSG_CMSG_CLOEXEC
        )
        passed = [socket.socket(fileno=descriptor) for descriptor in _descriptors(ancillary)]
        while not line.endswith(b"\n"):
            more = stream.recv(65536)
            if not more:
                break
            line += more
    answer = json.loads(line or b"{}")
    if "problem" in answer:
        raise RefusedError(answer["problem"].get("status", 500), answer["problem"])
    if not passed:
        raise ConnectionError("the connection ended without an answer")
    for each in passed:
        each.settimeout(socket.getdefaulttimeout())
    return passed


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % _INT])
    return list(found)
