"""Takes connections off the shared listeners, fairly."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence

logger = logging.getLogger("tricorn.error")

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
PAUSE = 0.5
"""Seconds to leave connections waiting when descriptors or memory have run out: trying on would spin."""


class Acceptor:
    """Accepts on all ``listeners`` from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        make_connection: Callable[[], asyncio.Protocol],
    ) -> None:
        self._loop = loop
        self._listeners = listeners
        self._make = make_connection
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: list[asyncio.TimerHandle] = []

    def start(self) -> None:
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def stop(self, *, empty: bool) -> None:
        """Accept no more and close the listeners; with ``empty``, first take what already waits in their queues."""
        for pause in self._pauses:
            pause.cancel()
        for listener in self._listeners:
            if listener.fileno() < 0:
                continue
            self._loop.remove_reader(listener.fileno())
            while empty and self._accept(listener):
                pass
            listener.close()

    async def settled(self) -> None:
        """Wait until every connection accepted is known to the service, or gone."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, listener: socket.socket) -> bool:
        """Take one connection; whether there was one."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            logger.error("Can't accept connections: %s", error.strerror)
            self._loop.remove_reader(listener.fileno())
            resume = self._loop.call_later(PAUSE, self._loop.add_reader, listener.fileno(), self._accept, listener)
            self._pauses = [pause for pause in self._pauses if pause.when() > self._loop.time()] + [resume]
            return False
        connection.setblocking(False)
        task = self._loop.create_task(self._connect(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:
            # The client is gone again already.
            connection.close()
