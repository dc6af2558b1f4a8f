"""Takes connections off the shared listeners, fairly.

The kernel wakes one worker for a new connection (see line.py), and that one takes it at once: to leave it to another would cost
time. Fairness comes behind that. A worker that now has more connections than another stops listening for a moment, and is then
the last in line. So while others sleep, they take what comes next, and while they are busy, nobody waits for them.

Where the kernel wakes all workers (not on Linux), the first would take a whole burst. There a worker that has more connections
than another leaves the queue alone for a moment before it takes one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Collection, Sequence

from ..ipc.scoreboard import Field
from ..protocols.facts import Facts, MakeConnection
from .line import Line, epoll_of
from .owner import Place
from .setup import Setup

logger = logging.getLogger("tricorn.error")

PAUSE = 0.5
"""Seconds to leave the queue alone when no connection can be accepted; without a pause the loop would spin. Descriptors or
memory have run out, or an application has shut the listener down for all workers."""
ADMISSION_GRACE = 1.0
"""Seconds that handshakes under way may take when a stop is asked for."""
SETTLE = 0.01
"""Seconds between two looks, at a stop, whether handshakes are under way."""
AT_ONCE = 32
"""Connections taken in one turn of the loop, at most: open connections are served in between."""
STEP = 0.001
"""Seconds for which a worker leaves the queue to less busy ones: one that sleeps needs a tenth of that to be there."""
TOLERANCE = 8
"""A worker does not wait while it has at most 1/TOLERANCE more connections than another: perfect balance is not worth it."""
CHURN = 16
"""It does not wait either while its surplus is at most 1/CHURN of the connections closed in the last second. Where connections
come and go quickly, their number at one moment says nothing. Waiting would halve the throughput (measured, a connection per
request)."""
BRIEF = 4
"""Nor at all while BRIEF times as many are closed in a second as are open, so that on average they last less than 1/BRIEF of a
second. With many workers each has too few connections for the rule above to tell."""
IN_A_ROW = 16
"""Connections after which a worker goes to the end of the line though no other has fewer: each is to have some, a canary, too.
To go there costs some microseconds."""
PER_TURN = 4
"""How often the event loop is made to watch a listener, if it accepts by itself: each time is for one connection in each turn.
Where connections are brief, four save a fifth of the CPU time of each, since they share what a turn costs; eight save no more.
Where they last, one by one is fairer, so only one stands in line."""
SPARE = 256
"""Descriptors that must be free while the event loop accepts: for want of one, it closes what waits in the queue."""
LOOK = 64
"""Connections between two looks whether they are."""
_CONNECTIONS = int(Field.CONNECTIONS)
_MAX_QUEUE = 28
"""Where Linux's ``struct tcp_info`` of a listener has the length of its queue (``tcpi_sacked``)."""


class Acceptor:
    """Accepts on all ``listeners`` from :meth:`start` to :meth:`stop`.

    Unless a PROXY header has to be read first, uvloop accepts by itself, in C: a connection with one request then costs a third
    less CPU time than with a task that admits it. asyncio makes a transport at once, which saves a fifth.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        make: MakeConnection,
        setup: Setup,
        place: Place,
        backlog: int = 0,
    ) -> None:
        """``make`` makes a transport's connection. ``backlog``: the length of listeners' queues, if the kernel tells none.

        It is long because each attribute is explained where it is set.
        """
        self._loop = loop
        self._listeners = listeners
        self._make = make
        self._setup = setup
        self._place = place
        self._backlog = backlog
        self._cells = place.row.cells
        self._handshakes: Collection[object] = ()
        """TLS handshakes that are not complete."""
        if setup.handshakes is not None:
            self._handshakes = setup.handshakes.under_way
            setup.handshakes.on_end = self._count
        self._opening = setup.begin(make) if setup.handshakes is None else None
        """The protocol of every transport until it gets its connection, a turn later; with TLS each has one of its own."""
        self._makes_transports = not setup.needs_socket and hasattr(loop, "_make_socket_transport")
        self._servers: list[asyncio.AbstractServer] = []
        """The event loop's own, which accept without us."""
        self._lines: list[Line] = []
        """One for each time that a listener is watched, if the kernel wakes one worker alone."""
        self._further_lines: list[Line] = []
        """Those of them that stand only where connections are brief."""
        self._made = 0
        """Open connections, as the service counts them."""
        self._connections = 0
        """Those, the sockets that are not admitted yet, and what was accepted in this turn."""
        self._websockets = self._multiplexed = 0
        self._in_flight = 0
        """Requests being answered, as of the last tick."""
        self._trouble: int | None = None
        """The error number if the last attempt to accept failed."""
        self._batch = 1
        """Connections to look for in one turn: more while there are more."""
        self._taken = 0
        self._before = 0
        """Connections accepted since the last tick, and open at that time."""
        self._closed = 0
        """Connections closed in the second before that."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: set[socket.socket] = set()
        """Sockets that were accepted, and for which there is no connection yet."""
        self._waits: dict[socket.socket, asyncio.TimerHandle] = {}
        """Listeners left alone for the moment."""

    async def start(self) -> None:
        """Accept on all listeners."""
        # A program that serves by itself does not share its listeners.
        epoll = epoll_of(self._loop) if self._place.is_shared else None
        # It is uvloop's way to accept one connection in each turn. asyncio takes all there are.
        by_loop = not self._setup.needs_socket and hasattr(self._loop, "_get_backend_id")
        by_loop = by_loop and (epoll is not None or not self._place.is_shared) and _has_spare_descriptors()
        for listener in self._listeners:
            watched = [listener.dup() for _ in range(PER_TURN)] if by_loop else [listener]
            for number, one in enumerate(watched):
                if by_loop:
                    await self._let_loop_accept(one)
                else:
                    self._listen(one)
                if epoll is not None:
                    line = Line(self._loop, one.fileno(), epoll, is_wanted=number == 0)
                    self._lines.append(line)
                    if number:
                        self._further_lines.append(line)

    def stop(self, *, empty: bool) -> None:
        """Accept no more and close the listeners. With ``empty``, first take the connections that wait in their queues."""
        self._close_servers()
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
        if empty and (self._tasks or self._handshakes):
            self._loop.call_later(ADMISSION_GRACE, self.give_up)

    def tick(self, in_flight: int = 0) -> None:
        """Once a second: count the connections closed since the last call. ``in_flight``: requests being answered."""
        self._in_flight = in_flight
        if self._setup.handshakes is not None:
            self._setup.handshakes.expire()
        self._closed = self._closed_since()
        self._taken, self._before = 0, self._connections
        for line in self._further_lines:
            line.want(self._closed > self._connections * BRIEF)
        # Others may have lost connections since it took its place in the line.
        self._give_way(0)

    def publish(self, made: int, websockets: int = 0, multiplexed: int = 0) -> None:
        """Let the other workers know how many connections are open: those ``made``, and those that are not admitted yet.

        ``websockets`` of them are WebSockets, and ``multiplexed`` speak HTTP/2.
        """
        self._made = made
        self._count()
        if websockets != self._websockets or multiplexed != self._multiplexed:
            self._cells[Field.WEBSOCKETS] = self._websockets = websockets
            self._cells[Field.HTTP2] = self._multiplexed = multiplexed

    def give_up(self) -> None:
        """Close the connections that are not admitted yet."""
        for task in list(self._tasks):
            task.cancel()
        if self._setup.handshakes is not None:
            self._setup.handshakes.give_up()

    async def settled(self) -> None:
        """Wait until every accepted connection is known to the service, or is gone."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        # In the next turn event loops tell of the transports that they made in this one.
        for _ in range(2):
            await asyncio.sleep(0)
        while self._handshakes:
            await asyncio.sleep(SETTLE)

    def is_busier(self) -> bool:
        """Whether another worker has clearly fewer connections; of many workers some are asked."""
        load, closed = self._connections, self._closed_since()
        if closed < self._closed:
            closed = self._closed
        if closed > load * BRIEF:
            return False
        if load < self._in_flight:
            # With HTTP/2 a connection may carry many requests.
            load = self._in_flight
        load -= closed // CHURN
        # The same as: there is one with fewer + fewer // TOLERANCE < load.
        return load > 0 and self._place.has_fewer(load - load // (TOLERANCE + 1), time.monotonic())

    # Accepting.

    def _open(self) -> asyncio.Protocol:
        """The event loop has accepted a connection; returns the protocol that it begins with."""
        self._connections += 1
        self._taken += 1
        if self._taken % LOOK == 0 and not _has_spare_descriptors():
            self._loop.call_soon(self._accept_ourselves)
        self._give_way(STEP)
        return self._opening or self._setup.begin(self._make)

    async def _let_loop_accept(self, listener: socket.socket) -> None:
        """One connection in each turn."""
        backlog = _queue_length(listener) or self._backlog
        self._servers.append(await self._loop.create_server(self._open, sock=listener, backlog=backlog))

    def _accept_ourselves(self) -> None:
        """From now on the event loop tells us of connections, and does not accept."""
        if self._servers:
            self._close_servers()
            for listener in self._listeners:
                self._listen(listener)

    def _close_servers(self) -> None:
        for line in self._lines:
            line.close()
        self._lines.clear()
        self._further_lines.clear()
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _listen(self, listener: socket.socket) -> None:
        self._waits.pop(listener, None)
        self._loop.add_reader(listener.fileno(), self._ready, listener)

    def _leave_alone(self, listener: socket.socket, seconds: float, then: Callable[[socket.socket], object]) -> None:
        for line in self._lines:
            line.leave(seconds)
        if not self._lines:
            self._loop.remove_reader(listener.fileno())
            self._waits[listener] = self._loop.call_later(seconds, then, listener)

    def _ready(self, listener: socket.socket) -> None:
        """At least one connection waits."""
        if not self._lines and self.is_busier():
            self._leave_alone(listener, STEP, self._come_back)
            return
        # One connection for each turn would make a new client wait one turn for every client before it. But one more accept
        # that finds nothing costs as much as one that succeeds.
        for _ in range(self._batch):
            if not self._accept(listener):
                self._batch = 1
                return
            if self._give_way(STEP):
                return
        self._batch = min(AT_ONCE, self._batch * 2)

    def _come_back(self, listener: socket.socket) -> None:
        """Take what no other worker has taken meanwhile."""
        self._listen(listener)
        self._accept(listener)

    def _give_way(self, seconds: float) -> bool:
        """Let less busy workers, if there are any, take what comes in so many seconds; returns whether there are."""
        is_busier = self.is_busier()
        if is_busier:
            for line in self._lines:
                line.leave(seconds)
        elif self._taken % IN_A_ROW == 0:
            for line in self._lines:
                line.step_back()
        return is_busier

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
        if self._makes_transports:
            self._take_note()
            self._loop._make_socket_transport(connection, self._opening or self._setup.begin(self._make))  # type: ignore[attr-defined]
            return
        self._pending.add(connection)
        self._take_note()
        task = self._loop.create_task(self._begin(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, connection: socket.socket) -> None:
        def make(transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
            # From now on the service counts it.
            self._pending.discard(connection)
            return self._make(transport, facts)

        try:
            await self._setup.admit(connection, make)
        except (OSError, asyncio.CancelledError):
            # The client is gone already, was not admitted, or took too long.
            connection.close()
        self._pending.discard(connection)
        self._count()

    # Counting.

    def _take_note(self) -> None:
        """One more connection was accepted. The others see that at once; its protocol is made a turn later at the earliest."""
        self._taken += 1
        self._connections += 1
        self._cells[_CONNECTIONS] = self._connections

    def _count(self) -> None:
        self._cells[_CONNECTIONS] = self._connections = self._made + len(self._pending) + len(self._handshakes)

    def _closed_since(self) -> int:
        """Connections closed since the last tick."""
        return self._taken - (self._connections - self._before)


def _has_spare_descriptors() -> bool:
    """Whether this process may open so many files that those that come soon leave some."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return True
    try:
        # The lowest free number is always taken: while this one is free, those above it are, or have been freed since.
        os.fstat(limit - SPARE)
    except OSError:
        return limit > SPARE
    return False


def _queue_length(listener: socket.socket) -> int:
    """How many connections may wait for ``listener`` to accept them; 0 where the kernel does not tell."""
    if sys.platform != "linux" or listener.family == socket.AF_UNIX:
        return 0
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MAX_QUEUE + 4)
        return int(struct.unpack_from("I", info, _MAX_QUEUE)[0])
    except (OSError, struct.error):
        # It is no TCP.
        return 0
