"""With ``--reload``: a worker that leaves hands off idle connections to the next one.

The old worker must not answer the next request of such a connection, because its code is old. It must not close it either: the
request may be under way. So the socket itself goes over (``SCM_RIGHTS``, unix(7)), in a message that waits in a queue until a
worker of the newer generation takes it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
"""The families of the sockets on which we listen."""
CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Ends = tuple[socket.socket, socket.socket]
"""Two ends, one to give to and one to take from. The supervisor makes them, and all workers share them."""


def open_ends() -> Ends:
    """A queue in which each message carries a connection."""
    # Linux queues only few datagrams (net.unix.max_dgram_qlen, perhaps ten); macOS has nothing else.
    giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM)
    giving.setblocking(False)
    taking.setblocking(False)
    return giving, taking


class Handover:
    """One worker's use of the queue: ``adopt`` is called with each connection that another worker gives."""

    def __init__(self, ends: Ends, loop: asyncio.AbstractEventLoop, adopt: Callable[[socket.socket], None]) -> None:
        self._giving, self._taking = ends
        self._loop = loop
        self._adopt = adopt

    def start(self) -> None:
        """Take what other workers give from now on."""
        self._loop.add_reader(self._taking.fileno(), self._take)

    def stop(self) -> None:
        """Take nothing any more."""
        self._loop.remove_reader(self._taking.fileno())

    def give(self, descriptor: int) -> bool:
        """Hand off the connection; returns whether the queue had room. The caller closes its own descriptor."""
        try:
            socket.send_fds(self._giving, [b"."], [descriptor])
        except OSError:
            return False
        return True

    def _take(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._taking, 1, 1, CLOSE_ON_EXEC)
        except OSError:
            # Another worker was quicker.
            return
        if not data:
            # An application has shut the queue down for all workers. It would be readable for ever.
            self.stop()
        for descriptor in descriptors:
            connection = as_connection(descriptor)
            if connection is not None:
                self._adopt(connection)


def as_connection(descriptor: int) -> socket.socket | None:
    """The client's connection behind ``descriptor``; None for anything else, which is closed. Any worker can send anything."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    try:
        is_stream = connection.type == socket.SOCK_STREAM and connection.family in FAMILIES
        if is_stream and not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            connection.getpeername()
            return connection
    except OSError:
        # Not connected any more.
        pass
    connection.close()
    return None
