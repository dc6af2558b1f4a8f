"""Takes connections off the shared listeners, fairly.

All workers are woken for a connection and the first to accept it gets it, so left alone the one that runs just then takes a
whole burst (measured: 63 of 64 connections on one of four workers). So a worker looks at the scoreboard first: one that has
more connections than another leaves the queue alone for a moment. The least busy worker never waits, so an idle fleet answers
as quickly as ever; and who has waited in vain, because the others are busy with something else, waits less the next time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

from ..ipc.scoreboard import Field, Scoreboard
from ..protocols.facts import Facts, MakeConnection

logger = logging.getLogger("tricorn.error")

PAUSE = 0.5
"""Seconds to leave connections waiting when none can be accepted: trying on would spin. Descriptors or memory have run out, or
an application has shut the listener down for all workers."""
ADMISSION_GRACE = 1.0
"""Seconds that handshakes under way may take when a stop is asked for."""
AT_ONCE = 32
"""Connections taken in one turn of the loop; those that are open want to be served in between."""
STEP = 0.001
"""Seconds between two looks whether it is our turn."""
PATIENCE = 0.016
"""Seconds to leave a connection to a less busy worker, at most."""
TOLERANCE = 8
"""Having up to one in so many connections more than another is no reason to wait: perfect balance isn't worth many rounds."""
CHURN = 16
"""Nor is having one more for so many connections that were closed in the last second: where they come and go, how many a worker
has at the moment says nothing, and waiting would cost half the throughput (measured with a connection per request)."""


class Acceptor:
    """Accepts on all ``listeners`` from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        make: MakeConnection,
        admit: Callable[[socket.socket, MakeConnection], Awaitable[None]],
        scoreboard: Scoreboard,
        row: int,
    ) -> None:
        """``admit`` has a connection made for a socket (see setup.py); ``row`` is the worker's own in ``scoreboard``."""
        self._loop = loop
        self._listeners = listeners
        self._make = make
        self._admit = admit
        self._scoreboard = scoreboard
        self._row = row
        self._own = scoreboard.row(row)
        self._made = 0
        """Open connections, as the service counts them."""
        self._connections = 0
        """Those, and the sockets that are not admitted yet."""
        self._trouble: int | None = None
        """Why no connection could be accepted, if the last one could not."""
        self._patience = PATIENCE
        self._taken = 0
        self._before = 0
        self._closed = 0
        """Connections closed in the last second."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: set[socket.socket] = set()
        """Sockets that were accepted, and for which there is no connection yet."""
        self._waits: dict[socket.socket, asyncio.TimerHandle] = {}
        """Listeners left alone for the moment."""

    def start(self) -> None:
        for listener in self._listeners:
            self._listen(listener)

    def stop(self, *, empty: bool) -> None:
        """Accept no more and close the listeners; with ``empty``, first take what already waits in their queues."""
        for listener in self._listeners:
            if listener.fileno() < 0:
                continue
            self._loop.remove_reader(listener.fileno())
            while empty and self._accept(listener):
                pass
            listener.close()
        for wait in self._waits.values():
            wait.cancel()
        self._waits.clear()
        if empty and self._tasks:
            self._loop.call_later(ADMISSION_GRACE, self.give_up)

    def tick(self) -> None:
        """Once a second: see how many connections were closed since the last time."""
        self._closed = self._taken - (self._connections - self._before)
        self._taken, self._before = 0, self._connections

    def publish(self, made: int) -> None:
        """Let the other workers know how many connections are open: those ``made``, and those that are not admitted yet."""
        self._made = made
        self._count()

    def _count(self) -> None:
        self._connections = self._made + len(self._pending)
        self._own[Field.CONNECTIONS] = self._connections

    def give_up(self) -> None:
        """Close what is not admitted yet."""
        for task in list(self._tasks):
            task.cancel()

    async def settled(self) -> None:
        """Wait until every connection accepted is known to the service, or gone."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _listen(self, listener: socket.socket) -> None:
        self._waits.pop(listener, None)
        self._loop.add_reader(listener.fileno(), self._ready, listener)

    def _leave_alone(self, listener: socket.socket, seconds: float, then: Callable[..., None], *args: object) -> None:
        self._loop.remove_reader(listener.fileno())
        self._waits[listener] = self._loop.call_later(seconds, then, listener, *args)

    def _ready(self, listener: socket.socket) -> None:
        """A connection waits, or many do: take what is fair."""
        if not self._is_our_turn():
            self._leave_alone(listener, STEP, self._look_again, self._loop.time() + self._patience)
            return
        self._patience = PATIENCE
        # If one were taken in each turn, new clients would wait a turn of everybody's for each of them that came before. But
        # finding that no more wait costs as much as taking one, and is done only while those taken last are still new.
        for _ in range(AT_ONCE if self._tasks else 1):
            if not self._accept(listener) or not self._is_our_turn():
                break

    def _look_again(self, listener: socket.socket, until: float) -> None:
        """Come back to a listener that was left to the others."""
        del self._waits[listener]
        if self._is_our_turn():
            self._patience = PATIENCE
        elif self._loop.time() < until:
            self._waits[listener] = self._loop.call_later(STEP, self._look_again, listener, until)
            return
        elif self._accept(listener):
            # Nobody took it: they are busy with requests rather than with connections.
            self._patience = max(STEP, self._patience / 2)
        else:
            self._patience = PATIENCE
        if listener not in self._waits:
            # Nothing has run out meanwhile.
            self._listen(listener)

    def _is_our_turn(self) -> bool:
        """Whether no other worker has notably fewer connections."""
        fewest = self._scoreboard.fewest_connections(self._row, time.monotonic())
        return fewest is None or self._connections <= fewest + fewest // TOLERANCE + self._closed // CHURN

    def _accept(self, listener: socket.socket) -> bool:
        """Take one connection; whether there was one."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno != self._trouble:
                self._trouble = error.errno
                logger.error("Can't accept connections: %s", error.strerror)
            self._leave_alone(listener, PAUSE, self._listen)
            return False
        self._trouble = None
        self.take(connection)
        return True

    def take(self, connection: socket.socket) -> None:
        """Serve a connection that somebody accepted."""
        connection.setblocking(False)
        # Counted at once, for the other workers to see, though its protocol comes to life a turn later.
        self._pending.add(connection)
        self._count()
        self._taken += 1
        task = self._loop.create_task(self._begin(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, connection: socket.socket) -> None:
        def make(transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
            # From now on the service counts it.
            self._pending.discard(connection)
            return self._make(transport, facts)

        try:
            await self._admit(connection, make)
        except (OSError, asyncio.CancelledError):
            # The client is gone again already, was not admitted, or took longer than we have.
            connection.close()
            self._pending.discard(connection)
            self._count()
