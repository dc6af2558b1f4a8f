"""Takes connections off the shared listeners, fairly.

The kernel wakes all workers for a new connection, and the first to accept it gets it. Without more, the worker that happens to
run takes a whole burst (measured: 63 of 64 connections on one of four workers). So a worker looks at the scoreboard first. If
it has more connections than another worker, it leaves the queue alone for a moment. The least busy worker never waits, so an
idle fleet answers as fast as before. A worker that waited in vain, because the others are busy with requests, waits less the
next time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

from ..ipc.scoreboard import Field
from ..protocols.facts import Facts, MakeConnection
from .owner import Place

logger = logging.getLogger("tricorn.error")

PAUSE = 0.5
"""Seconds to leave the queue alone when no connection can be accepted; without a pause the loop would spin. Descriptors or
memory have run out, or an application has shut the listener down for all workers."""
ADMISSION_GRACE = 1.0
"""Seconds that handshakes under way may take when a stop is asked for."""
AT_ONCE = 32
"""Connections taken in one turn of the loop, at most: open connections are served in between."""
STEP = 0.001
"""Seconds between two looks at the scoreboard."""
PATIENCE = 0.016
"""Seconds to leave a connection to less busy workers, at most."""
TOLERANCE = 8
"""A worker does not wait while it has at most 1/TOLERANCE more connections than another: perfect balance is not worth it."""
CHURN = 16
"""It does not wait either while its surplus is at most 1/CHURN of the connections closed in the last second. Where connections
come and go quickly, their number at one moment says nothing. Waiting would halve the throughput (measured, a connection per
request)."""


class Acceptor:
    """Accepts on all ``listeners`` from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        make: MakeConnection,
        admit: Callable[[socket.socket, MakeConnection], Awaitable[None]],
        place: Place,
    ) -> None:
        """``admit`` has a connection made for a socket (see setup.py); ``make`` makes it."""
        self._loop = loop
        self._listeners = listeners
        self._make = make
        self._admit = admit
        self._place = place
        self._made = 0
        """Open connections, as the service counts them."""
        self._connections = 0
        """Those, and the sockets that are not admitted yet."""
        self._in_flight = 0
        """Requests being answered, as of the last tick."""
        self._trouble: int | None = None
        """The error number if the last attempt to accept failed."""
        self.patience = PATIENCE
        """Seconds for which a connection is left to workers that have fewer."""
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
        """Accept on all listeners."""
        for listener in self._listeners:
            self._listen(listener)

    def stop(self, *, empty: bool) -> None:
        """Accept no more and close the listeners. With ``empty``, first take the connections that wait in their queues."""
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

    def tick(self, in_flight: int = 0) -> None:
        """Once a second: count the connections closed since the last call. ``in_flight``: requests being answered."""
        self._in_flight = in_flight
        self._closed = self._taken - (self._connections - self._before)
        self._taken, self._before = 0, self._connections

    def publish(self, made: int, websockets: int = 0, multiplexed: int = 0) -> None:
        """Let the other workers know how many connections are open: those ``made``, and those that are not admitted yet.

        ``websockets`` of them are WebSockets, and ``multiplexed`` speak HTTP/2.
        """
        self._made = made
        self._place.row[Field.WEBSOCKETS] = websockets
        self._place.row[Field.HTTP2] = multiplexed
        self._count()

    def _count(self) -> None:
        self._connections = self._made + len(self._pending)
        self._place.row[Field.CONNECTIONS] = self._connections

    def give_up(self) -> None:
        """Close the connections that are not admitted yet."""
        for task in list(self._tasks):
            task.cancel()

    async def settled(self) -> None:
        """Wait until every accepted connection is known to the service, or is gone."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _listen(self, listener: socket.socket) -> None:
        self._waits.pop(listener, None)
        self._loop.add_reader(listener.fileno(), self._ready, listener)

    def _leave_alone(self, listener: socket.socket, seconds: float, then: Callable[..., None], *args: object) -> None:
        self._loop.remove_reader(listener.fileno())
        self._waits[listener] = self._loop.call_later(seconds, then, listener, *args)

    def _ready(self, listener: socket.socket) -> None:
        """At least one connection waits: take a fair share."""
        if not self.is_our_turn():
            self._leave_alone(listener, STEP, self._look_again, self._loop.time() + self.patience)
            return
        self.patience = PATIENCE
        # Taking one connection per turn would make each new client wait one turn for every client before it. But one more
        # accept that finds nothing costs as much as one that succeeds. So try again only while earlier ones are still new.
        for _ in range(AT_ONCE if self._tasks else 1):
            if not self._accept(listener) or not self.is_our_turn():
                break

    def _look_again(self, listener: socket.socket, until: float) -> None:
        """Come back to a listener that was left to the others."""
        del self._waits[listener]
        if self.is_our_turn():
            self.patience = PATIENCE
        elif self._loop.time() < until:
            self._waits[listener] = self._loop.call_later(STEP, self._look_again, listener, until)
            return
        elif self._accept(listener):
            # No other worker took it: they are busy with requests.
            self.patience = max(STEP, self.patience / 2)
        else:
            self.patience = PATIENCE
        if listener not in self._waits:
            # Accepting did not fail meanwhile.
            self._listen(listener)

    def is_our_turn(self) -> bool:
        """Whether no other worker has clearly fewer connections."""
        fewest = self._place.fewest_connections(time.monotonic())
        # With HTTP/2 a connection may carry many requests.
        load = max(self._connections, self._in_flight)
        return fewest is None or load <= fewest + fewest // TOLERANCE + self._closed // CHURN

    def _accept(self, listener: socket.socket) -> bool:
        """Take one connection; returns whether there was one."""
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
        """Serve a connection that was accepted here, or by an older worker that hands it on."""
        connection.setblocking(False)
        # Counted at once, so that the other workers see it. Its protocol is made a turn later at the earliest.
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
            # The client is gone already, was not admitted, or took too long.
            connection.close()
            self._pending.discard(connection)
            self._count()
