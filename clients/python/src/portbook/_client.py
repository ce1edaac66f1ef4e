"""Client of a running service: HTTP over its Unix socket, one connection for each request."""

from __future__ import annotations

import http.client
import json
import os
import socket as sockets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Optional, TypedDict, Union, overload
from urllib.parse import urlencode

from . import _passing
from ._connection import UnixConnection, first_that_answers, no_service
from ._durations import Duration, as_json, in_seconds
from ._errors import RefusedError, ServiceError, SilentServiceError
from ._find import Places, places
from ._lease import Lease, Occupant, PortReport

if TYPE_CHECKING:
    from typing_extensions import Unpack


class LeaseOptions(TypedDict, total=False):
    """Options of `Client.lease`, all of them optional."""

    #: Pool to take from.
    pool: str
    #: Exactly this port, or a refusal.
    port: int
    #: This port if it is free, else one above it, else one of the pool.
    prefer: int
    #: Number of ports above the preferred one to try.
    prefer_span: int
    #: Ranges to search in place of the pool's, such as `"8000-8099,9000"`.
    ranges: str
    #: `"tcp"`, `"udp"`, or `"both"` on one number, which gives two leases.
    protocol: str
    #: Interfaces, addresses or classes to hold the port on, such as `["loopback"]`.
    interfaces: Sequence[str]
    #: `"gate"`, `"fd"` or `"release"`.
    handover: str
    #: Time after which the lease ends unless it is renewed.
    ttl: Duration
    #: Words to filter by.
    labels: Mapping[str, str]
    #: Process with whose end the lease ends. This process by default; `None` for the first process that
    #: listens on the port.
    owner_pid: Optional[int]
    #: Time to wait for a port if none is free.
    wait: Duration
    #: Limit on the search.
    timeout: Duration
    #: `"user"` or `"dir"`: where the name is unique.
    scope: str
    #: Folder of the scope `"dir"`. The working directory by default.
    directory: Union[str, os.PathLike[str]]
    #: A further copy of the named service, with a port of its own.
    instance: str
    #: `"learned"`, `"ordered"` or `"random"`.
    strategy: str
    #: Maximum number of candidate ports to try.
    max_attempts: int
    #: Refuse rather than move a name whose port is taken.
    strict: bool
    #: Time in which a program has to listen, without `owner_pid`.
    claim_within: Duration
    #: Keep the port for its name until its program comes. It goes without `owner_pid`.
    reserve: bool


_DURATIONS = ("ttl", "wait", "timeout", "claim_within")
_OPTIONS = LeaseOptions.__optional_keys__


class Client:
    """A client of the service that the `portbook` command would ask.

    `socket` names another one. `timeout` is the limit in seconds for each answer, beyond the time that a
    request itself may wait. Servers of other users than the caller and root count only if `trusted_uids`
    has them. Threads may share a client. `NoServiceError` if no service answers.
    """

    def __init__(
        self,
        socket: Union[str, os.PathLike[str], None] = None,
        *,
        timeout: float = 30.0,
        trusted_uids: Iterable[int] = (),
    ) -> None:
        self._trusted_uids = tuple(trusted_uids)
        self._timeout = timeout
        candidates = places() if socket is None else Places((os.fspath(socket),), is_named=True)
        #: Path of the service's socket.
        self.socket = first_that_answers(candidates, timeout, self._trusted_uids)

    @overload
    def lease(
        self,
        name: Optional[str] = None,
        *,
        count: None = None,
        block: None = None,
        **options: Unpack[LeaseOptions],
    ) -> Lease: ...

    @overload
    def lease(
        self,
        name: Optional[str] = None,
        *,
        count: int,
        block: None = None,
        **options: Unpack[LeaseOptions],
    ) -> list[Lease]: ...

    @overload
    def lease(
        self,
        name: Optional[str] = None,
        *,
        count: None = None,
        block: int,
        **options: Unpack[LeaseOptions],
    ) -> list[Lease]: ...

    def lease(
        self,
        name: Optional[str] = None,
        *,
        count: Optional[int] = None,
        block: Optional[int] = None,
        **options: Unpack[LeaseOptions],
    ) -> Union[Lease, list[Lease]]:
        """Lease a port, under a name or without one; see `LeaseOptions` for the rest.

        With `count` (number of ports) or `block` (number of ports in a row) the answer is a list, otherwise
        one lease. `protocol="both"` makes two leases for each number, so it needs one of them.
        """
        if options.get("protocol") == "both" and count is None and block is None:
            raise TypeError('protocol="both" makes two leases: ask with count=1, and take the list')
        request = _request(name, options)
        request.update({key: n for key, n in (("count", count), ("block", block)) if n is not None})
        waits = in_seconds(options.get("wait", 0)) + in_seconds(options.get("timeout", 0))
        answer = self._ask("POST", "/leases", request, waits=waits)
        created = bool(answer["created"])
        leases = [Lease.of(document, self, created=created) for document in answer["leases"]]
        return leases[0] if count is None and block is None else leases

    def release(
        self, lease: Union[Lease, str], *, remember: bool = False, missing_ok: bool = False
    ) -> None:
        """End a lease, given as such or by its id. Its name forgets the port unless `remember` is set.

        `RefusedError` with the code `not_found` if it has ended already, unless `missing_ok` is set.
        """
        id = lease if isinstance(lease, str) else lease.id
        query = "?remember=true" if remember else ""
        try:
            self._ask("DELETE", f"/leases/{id}{query}")
        except RefusedError as error:
            if not (missing_ok and error.code == "not_found"):
                raise

    def renew(self, lease: Union[Lease, str], ttl: Optional[Duration] = None) -> Lease:
        """Begin the time of a lease anew, with another length if `ttl` is given."""
        id = lease if isinstance(lease, str) else lease.id
        body = {} if ttl is None else {"ttl": as_json(ttl)}
        return Lease.of(self._ask("POST", f"/leases/{id}/renew", body), self)

    def get(self, id: str) -> Lease:
        """Return a lease by its id, as it is now; also one that has ended."""
        return Lease.of(self._ask("GET", f"/leases/{id}"), self)

    def leases(
        self,
        *,
        name: Optional[str] = None,
        pool: Optional[str] = None,
        state: Optional[str] = None,
        label: Optional[str] = None,
    ) -> list[Lease]:
        """Return the living leases, or those in `state`; `label` is `key=value`."""
        filters = {"name": name, "pool": pool, "state": state, "label": label}
        wanted = {key: value for key, value in filters.items() if value is not None}
        pages = self._pages(f"/leases?{urlencode({**wanted, 'limit': 1000})}")
        return [Lease.of(document, self) for page in pages for document in page["leases"]]

    def who(self, port: int, protocol: str = "tcp") -> PortReport:
        """Return the leases on a port and the programs that are there."""
        answer = self._ask("GET", f"/ports/{protocol}/{port}")
        return PortReport(
            port=answer["port"],
            protocol=answer["protocol"],
            leases=tuple(Lease.of(document, self) for document in answer["leases"]),
            occupants=tuple(map(Occupant.of, answer["occupants"])),
        )

    def sockets(self, lease: Union[Lease, str]) -> list[sockets.socket]:
        """Return the listening sockets of a lease with the hand-over `fd`, one for each address.

        The service has bound them, so no other program can come in between.
        """
        id = lease if isinstance(lease, str) else lease.id
        try:
            return _passing.fetch(self.socket, id, self._timeout, self._trusted_uids)
        except (TimeoutError, sockets.timeout) as error:
            raise self._silent(self._timeout) from error
        except OSError as error:
            raise ServiceError(f"the service on {self.socket} passes no sockets: {error}") from error

    def status(self) -> dict[str, Any]:
        """Return the state of the service: version, console, checks."""
        return self._ask("GET", "/status")

    def check_network(self) -> None:
        """Raise the refusal `other_network_namespace` if ports of the service are of no use here.

        A container may share the socket of its host and have ports of its own.
        """
        try:
            self._ask("POST", "/leases", {"dry_run": True})
        except RefusedError as error:
            # Other refusals are about the one port that was asked for.
            if error.code == "other_network_namespace":
                raise

    def _pages(self, target: str) -> Iterator[dict[str, Any]]:
        following: Optional[str] = target
        while following:
            page = self._ask("GET", following)
            yield page
            following = page.get("next")
            following = following[len("/api/v1") :] if following else None

    def _ask(
        self,
        method: str,
        target: str,
        body: Optional[Mapping[str, Any]] = None,
        *,
        waits: float = 0.0,
    ) -> dict[str, Any]:
        limit = self._timeout + waits
        connection = UnixConnection(self.socket, limit, self._trusted_uids)
        with closing(connection):
            try:
                sent = None if body is None else json.dumps(body)
                headers = {} if body is None else {"Content-Type": "application/json"}
                connection.request(method, f"/api/v1{target}", sent, headers)
                response = connection.getresponse()
                content = response.read()
            except (TimeoutError, sockets.timeout) as error:
                raise self._silent(limit) from error
            except (FileNotFoundError, ConnectionRefusedError) as error:
                raise no_service(Places((self.socket,), is_named=True), error) from error
            except (OSError, http.client.HTTPException) as error:
                raise ServiceError(
                    f"the service on {self.socket} broke off: {error!r}. It may have been stopped; "
                    "`portbook list` shows whether the lease was granted"
                ) from error
        return _read(response.status, content, self.socket)

    def _silent(self, limit: float) -> SilentServiceError:
        return SilentServiceError(
            f"the service on {self.socket} does not answer within {limit:g} s: it is stopped, hangs or has too "
            "much to do. `portbook status` names its process"
        )


def _request(name: Optional[str], options: LeaseOptions) -> dict[str, Any]:
    """Return the body of a request for ports."""
    unknown = set(options) - _OPTIONS
    if unknown:
        raise TypeError(f"lease() has no option {', '.join(sorted(unknown))}")
    request: dict[str, Any] = dict(options)
    for key in _DURATIONS:
        if key in request:
            request[key] = as_json(request[key])
    if name is not None:
        request["name"] = name
    if not request.get("reserve"):
        request.setdefault("owner_pid", os.getpid())
    if request.get("scope") == "dir":
        request.setdefault("directory", os.getcwd())
    if "directory" in request:
        request["directory"] = os.path.abspath(request["directory"])
    if "interfaces" in request:
        request["interfaces"] = list(request["interfaces"])
    labels = {**_own_labels(os.environ.get("PORTBOOK_CLIENT__LABELS", "")), **request.get("labels", {})}
    if labels:
        request["labels"] = labels
    return request


def _own_labels(text: str) -> dict[str, str]:
    """Return the labels of the setting `client.labels`: `KEY=VALUE`, with commas between, or a JSON list."""
    words = json.loads(text) if text.startswith("[") else text.split(",")
    return {key: value for key, equals, value in (str(word).strip().partition("=") for word in words) if equals}


def _read(status: int, content: bytes, path: str) -> dict[str, Any]:
    """Return the document of an answer; `RefusedError` if it is a problem."""
    if status == 204:
        return {}
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ServiceError(f"the server on {path} answers {status} without a document: is it portbook?")
    if status >= 400:
        raise RefusedError(status, document)
    return document
