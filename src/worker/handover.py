"""With ``--reload``: connections that wait for their next request go from a worker that leaves to the one that follows.

The old worker must not answer that request, for it would by the old code; nor may it close, for the request may be under way.
So the socket itself goes over (``SCM_RIGHTS``, unix(7)), in a message to whichever worker of the newer generation looks first,
and waits in the queue until there is one.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

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
            _, descriptors, _, _ = socket.recv_fds(self._taking, 1, 1)
        except OSError:
            # Another worker was quicker.
            return
        for descriptor in descriptors:
            self._adopt(socket.socket(fileno=descriptor))
