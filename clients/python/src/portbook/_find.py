"""Sockets on which a service may listen, in the order in which the `portbook` command looks.

Files with settings are not read here. A socket that they name is found all the same while its service runs
on the usual data directory, since the service writes it into the lock file there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

#: Socket of the service for all users of the host.
SYSTEM_SOCKET = "/run/portbook/portbook.sock"

_SYSTEM_DATA_DIR = "/var/lib/portbook"


@dataclass(frozen=True)
class Places:
    """Sockets to try, in order."""

    sockets: tuple[str, ...]
    #: Whether PORTBOOK_SOCKET names the only one, which then must answer.
    is_named: bool


def places(
    environ: Optional[Mapping[str, str]] = None, *, is_root: Optional[bool] = None
) -> Places:
    """Return the sockets that these variables lead to; by default those of this process."""
    environ = os.environ if environ is None else environ
    is_root = os.geteuid() == 0 if is_root is None else is_root
    named = environ.get("PORTBOOK_SOCKET")
    if named:
        return Places((os.path.abspath(named),), is_named=True)
    own_data_dir = environ.get("PORTBOOK_DATA_DIR")
    if own_data_dir:
        # A data directory of one's own means a service of one's own: the host's is not asked.
        data_dir = os.path.abspath(own_data_dir)
        return _unique(f"{data_dir}/portbook.sock", _locked_by(data_dir))
    usual_data_dir = _data_dir(environ, is_root)
    own = _own_socket(environ, is_root, usual_data_dir)
    holder = _locked_by(usual_data_dir) if usual_data_dir else None
    return _unique(own, holder, SYSTEM_SOCKET)


def _unique(*sockets: Optional[str]) -> Places:
    return Places(tuple(dict.fromkeys(filter(None, sockets))), is_named=False)


def _data_dir(environ: Mapping[str, str], is_root: bool) -> Optional[str]:
    if is_root:
        return _SYSTEM_DATA_DIR
    state = _absolute(environ, "XDG_STATE_HOME")
    home = _absolute(environ, "HOME")
    if state is None and home is not None:
        state = f"{home}/.local/state"
    return f"{state}/portbook" if state else None


def _own_socket(
    environ: Mapping[str, str], is_root: bool, data_dir: Optional[str]
) -> Optional[str]:
    if is_root:
        return SYSTEM_SOCKET
    runtime = _absolute(environ, "XDG_RUNTIME_DIR")
    if runtime:
        return f"{runtime}/portbook.sock"
    return f"{data_dir}/portbook.sock" if data_dir else None


def _absolute(environ: Mapping[str, str], variable: str) -> Optional[str]:
    """Return a base directory. Relative and empty ones count as unset, as the XDG specification asks."""
    path = environ.get(variable, "")
    return path if path.startswith("/") else None


def _locked_by(data_dir: str) -> Optional[str]:
    """Return the socket of the service that has this data directory, or had it last."""
    try:
        lines = Path(data_dir, "lock").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    return lines[1] if len(lines) > 1 and lines[1].startswith("/") else None
