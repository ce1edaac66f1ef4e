"""Errors of the client. All of them are a `PortbookError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PortbookError(Exception):
    """Base of every error of this package."""


class RefusedError(PortbookError):
    """The service refused a request.

    `code` is a stable word to match on, such as `port_in_use` or `pool_exhausted`; `detail` says what is
    in the way. `problem` is the whole document, with `attempts` for a refused allocation.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code", "failed"))
        self.title = str(problem.get("title", "Request failed"))
        self.detail = str(problem.get("detail", self.title))
        super().__init__(f"{self.detail} ({self.code})")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled by their message alone; pools of processes pass them on by pickle.
        return type(self), (self.status, self.problem)


class ServiceError(PortbookError):
    """The service could not be asked, or its answer cannot be used."""


class NoServiceError(ServiceError):
    """Nothing listens on any socket where a service is expected."""


class SilentServiceError(ServiceError):
    """The service accepted the connection and did not answer in time."""


class UntrustedServiceError(ServiceError):
    """The server runs as another user than the caller, root, or one of `trusted_uids`."""
