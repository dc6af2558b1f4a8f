"""With ``--reload``: connections that wait for their next request go from a worker that leaves to the one that follows.

The old worker must not answer that request, for it would by the old code; nor may it close, for the request may be under way.
So the socket itself goes over (``SCM_RIGHTS``, unix(7)), in a message to whichever worker of the newer generation looks first,
and waits in the queue until there is one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
"""Of the sockets on which we listen."""
CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Ends = tuple[socket.socket, socket.socket]
"""To give to, and to take from; made by the supervisor, and the same for all workers."""


def open_ends() -> Ends:
    """A queue in which each message carries a connection."""
    # Of datagrams Linux keeps only so many waiting (net.unix.max_dgram_qlen, perhaps ten); macOS has nothing else.
    giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM)
    giving.setblocking(False)
    taking.setblocking(False)
    return giving, taking


class Handover:
    """One worker's use of the queue."""

    def __init__(self, ends: Ends) -> None:
        self._giving, self._taking = ends

    def start(self, loop: asyncio.AbstractEventLoop, adopt: Callable[[socket.socket], None]) -> None:
        """From now on let ``adopt`` have what other workers gave."""
        self._loop, self._adopt = loop, adopt
        loop.add_reader(self._taking.fileno(), self._take)

    def stop(self) -> None:
        self._loop.remove_reader(self._taking.fileno())

    def give(self, descriptor: int) -> bool:
        """Let the next worker have the connection; the caller closes its own descriptor. Returns whether the queue had room."""
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
            # An application has shut the queue down for all workers: it would be readable for ever.
            self.stop()
        for descriptor in descriptors:
            connection = as_connection(descriptor)
            if connection is not None:
                self._adopt(connection)


def as_connection(descriptor: int) -> socket.socket | None:
    """The connection to a client that ``descriptor`` is; None, and closed, if it is anything else: any worker can send it."""
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
