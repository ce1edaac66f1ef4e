"""A busy neighbour: binds port 0 and connects in a tight loop, and keeps its last sockets open.

Any host with many outgoing connections and other test runs looks like this to the kernel. It prints one line when it
is at work, and at SIGTERM the number of ports that it was given.
"""

from __future__ import annotations

import signal
import socket
import struct
from collections import deque

#: Sockets bound to port 0 that stay open, and connections. Together they are a tenth of the kernel's range of 28,000.
BOUND = 2000
CONNECTED = 400

#: Sockets bound for each connection, which takes far longer to make.
BINDS = 10

#: SO_LINGER with no time: closed connections leave nothing behind that would fill the range (TIME_WAIT).
AT_ONCE = struct.pack("ii", 1, 0)


class Ended(Exception):
    """SIGTERM came."""


def end(*_: object) -> None:
    raise Ended


def main() -> None:
    signal.signal(signal.SIGTERM, end)
    given = 0
    bound: deque[socket.socket] = deque()
    connected: deque[list[socket.socket]] = deque()
    try:
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
            print("at work", flush=True)
            while True:
                bound.extend(bind_anywhere() for _ in range(BINDS))
                connected.append(connect(server))
                given += BINDS + 1
                while len(bound) > BOUND:
                    bound.popleft().close()
                if len(connected) > CONNECTED:
                    for each in connected.popleft():
                        each.close()
    except Ended:
        print(given, flush=True)


def bind_anywhere() -> socket.socket:
    neighbour = socket.socket()
    neighbour.bind(("127.0.0.1", 0))
    return neighbour


def connect(server: socket.socket) -> list[socket.socket]:
    # Both ends.
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    for each in (client, accepted):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    return [client, accepted]


if __name__ == "__main__":
    main()
