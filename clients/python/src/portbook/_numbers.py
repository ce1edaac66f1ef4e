"""Numbers that a process may take for itself without asking a service."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc/sys/net/ipv4")

#: The kernel's range where it cannot be read.
_USUAL_EPHEMERAL = range(32768, 61000)

#: Below it are the ports that people start servers on by hand.
_LOWEST = 10000

#: Ports of other keepers, which may have granted some without a socket on them: the portserver's usual pool
#: and portbook's own.
_OF_OTHERS = range(15000, 30000)

#: A port above `_LOWEST` that browsers refuse to open (the fetch standard's bad ports).
_BLOCKED_BY_BROWSERS = 10080

#: Number of candidates below which the ports of others, and then all that need no privilege, are used too.
_ENOUGH = 1000


def candidates(proc: Path = _PROC) -> list[int]:
    """Return the numbers to try, in ascending order.

    The kernel gives ports of its ephemeral range to `bind(0)` and `connect()`, so none of them is here: a
    number that is between two sockets, as when a server restarts, is safe from both.
    """
    kept_back = {_BLOCKED_BY_BROWSERS, *_ephemeral(proc), *_reserved(proc)}
    found: list[int] = []
    for numbers in (
        [*range(_LOWEST, _OF_OTHERS.start), *range(_OF_OTHERS.stop, 65536)],
        range(_LOWEST, 65536),
        range(1024, 65536),
    ):
        found = [number for number in numbers if number not in kept_back]
        if len(found) >= _ENOUGH:
            break
    return found


def _ephemeral(proc: Path) -> range:
    try:
        first, last = (proc / "ip_local_port_range").read_text().split()
        return range(int(first), int(last) + 1)
    except (OSError, ValueError):
        return _USUAL_EPHEMERAL


def _reserved(proc: Path) -> set[int]:
    """Return the ports of `ip_local_reserved_ports`, a list such as `8080,9148-9150`."""
    try:
        text = (proc / "ip_local_reserved_ports").read_text().strip()
    except OSError:
        return set()
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
