"""Ports that no other program takes: a client of the portbook service, and a pytest plugin.

    import portbook

    with portbook.Client().lease("web", prefer=3000) as lease:
        print(lease.port)

The fixtures `port`, `ports`, `session_ports` and `listener` are in `portbook.pytest_plugin`, which
pytest loads by itself.
"""

from ._client import Client, LeaseOptions
from ._errors import (
    NoServiceError,
    PortbookError,
    RefusedError,
    ServiceError,
    SilentServiceError,
    UntrustedServiceError,
)
from ._lease import Lease, Moved, Occupant, PortReport
from ._own import NoFreePortError, OwnPort, hold_port, listen

__all__ = [
    "Client",
    "Lease",
    "LeaseOptions",
    "Moved",
    "NoFreePortError",
    "NoServiceError",
    "Occupant",
    "OwnPort",
    "PortReport",
    "PortbookError",
    "RefusedError",
    "ServiceError",
    "SilentServiceError",
    "UntrustedServiceError",
    "hold_port",
    "listen",
]
__version__ = "0.1.0"
