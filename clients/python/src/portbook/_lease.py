"""Answers of the service as typed and frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Protocol

if TYPE_CHECKING:
    from types import TracebackType


class Releases(Protocol):
    """The client of a lease: it can end it."""

    def release(self, lease: Lease, *, remember: bool = False, missing_ok: bool = False) -> None:
        """End a lease."""


@dataclass(frozen=True)
class Moved:
    """A move from the port that was wanted, or that the name had before."""

    from_port: int
    to_port: int
    #: Kind of the reason, such as `in_use`, `leased` or `excluded`.
    reason: str
    #: Program, lease or rule behind it. `None` if the reason says all.
    by: Optional[str] = None

    @classmethod
    def of(cls, document: Optional[Mapping[str, Any]]) -> Optional[Moved]:
        """Read the member `moved` of a lease."""
        if document is None:
            return None
        return cls(document["from"], document["to"], document["reason"], document.get("by"))


@dataclass(frozen=True)
class Lease:
    """One port, granted to this user from the grant until the lease ends.

    A lease is a context manager: at the end of the block it is released. A name keeps its port then; call
    `release()` to have the name forget it.
    """

    id: str
    port: int
    #: `None` for a lease without a name.
    name: Optional[str]
    #: `tcp` or `udp`.
    protocol: str
    pool: str
    #: Host name or address for clients.
    host: str
    #: Addresses on which the port is held, each with the port: `0.0.0.0:3000`, `[::]:3000`.
    addresses: tuple[str, ...]
    #: Address for a browser, if the service tells one.
    url: Optional[str]
    #: `reserved`, `handed`, `active`, `degraded`, `lost`, or the state that ended the lease.
    state: str
    #: `gate`, `fd` or `release`.
    handover: str
    #: `hold` (the service's socket), `owner` (the program's own) or `none` (the record alone).
    guard: str
    #: The move to this port, if another one was wanted.
    moved: Optional[Moved]
    #: End of the lease (RFC 3339) unless it is renewed. `None` without an end.
    expires_at: Optional[str]
    labels: Mapping[str, str] = field(compare=False)
    #: `False` if the request found its name leased already.
    created: bool = field(compare=False)
    #: The whole document of the service, with members that have no field here.
    document: Mapping[str, Any] = field(repr=False, compare=False)
    _client: Releases = field(repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any], client: Releases, *, created: bool = False) -> Lease:
        """Read one lease of an answer."""
        return cls(
            id=document["id"],
            port=document["port"],
            name=document.get("name"),
            protocol=document["protocol"],
            pool=document["pool"],
            host=document["host"],
            addresses=tuple(document["addresses"]),
            url=document.get("url"),
            state=document["state"],
            handover=document["handover"],
            guard=document["guard"],
            moved=Moved.of(document.get("moved")),
            expires_at=document.get("expires_at"),
            labels=dict(document.get("labels") or {}),
            created=created,
            document=document,
            _client=client,
        )

    def release(self, *, remember: bool = False) -> None:
        """Give the port back. Its name forgets the port unless `remember` is set."""
        self._client.release(self, remember=remember)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        # A lease that another block of this program made is that block's to release.
        if self.created:
            self._client.release(self, remember=self.name is not None, missing_ok=True)


@dataclass(frozen=True)
class Occupant:
    """A program on a port. What the kernel does not tell is `None`."""

    pid: Optional[int]
    #: Name of the process: text from outside.
    command: Optional[str]
    uid: Optional[int]
    #: State of its socket, such as `listening` or `bound`.
    state: str
    #: Local addresses of its sockets, each with the port.
    addresses: tuple[str, ...]
    #: Relation to the lease on the port, such as `owner` or `stranger`.
    relation: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Occupant:
        """Read one occupant of an answer."""
        return cls(
            pid=document.get("pid"),
            command=document.get("command"),
            uid=document.get("uid"),
            state=document["state"],
            addresses=tuple(document.get("addresses") or ()),
            relation=document.get("relation", "stranger"),
        )


@dataclass(frozen=True)
class PortReport:
    """The leases on a port, and the programs that are there."""

    port: int
    protocol: str
    leases: tuple[Lease, ...]
    occupants: tuple[Occupant, ...]
