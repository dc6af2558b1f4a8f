"""What all connections of one worker share: the application, the limits, the default headers, and who is being served."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from enum import IntEnum
from functools import partial
from typing import Any, Protocol

from .asgi import Application, Scope
from .date import http_date
from .defaults import Defaults
from .delivery import Deliveries, Sender
from .limits import Limits
from .meters import Meters, Unread
from .pace import Pace
from .proxy.headers import Proxies
from .request import RequestHead


class Phase(IntEnum):
    """How willing the worker is to serve; it only ever rises."""

    SERVING = 0
    DRAINING = 1
    """Patient: responses close their connections; idle ones stay until their next request or their timeout."""
    STOPPING = 2
    """Prompt: idle connections close at once."""


class Connection(Sender, Protocol):
    """A connection, as the service needs it."""

    deadline: float
    """When :meth:`expire` is to be called, in the clock of ``Service.now``."""

    def expire(self) -> None:
        """The deadline has passed."""

    def drain(self) -> None:
        """The worker drains: what would last for ever ends now; called once."""

    def lasts(self) -> bool:
        """Whether it would last for ever: a WebSocket, an event stream."""

    def part(self) -> None:
        """The worker drains: end it so that the client connects again, to another worker."""

    def stop(self) -> None:
        """Close if idle."""

    def abort(self) -> None:
        """End now; what is not sent yet is lost."""

    def is_owed(self) -> bool:
        """Whether a complete response waits with us for its client."""


class Work(Protocol):
    """An exchange in progress."""

    since: float
    """When it began, as of ``time.monotonic``."""

    @property
    def client(self) -> str:
        """As in the access log."""

    def describe(self) -> str:
        """Method and target; the query is part of it."""

    def cancel(self) -> None:
        """Cancel the application's task."""


Upgrade = Callable[[asyncio.Transport, RequestHead, Scope, str], asyncio.Protocol]
"""From the transport, a request that asks for another protocol, the scope's common part and the client's name in the access
log, to what takes the connection over. Its ``connection_made`` is called, then ``data_received`` with what came behind the
head; it also answers when it refuses the upgrade."""

Successor = Callable[[asyncio.Transport, Scope, str, bool | None], asyncio.Protocol]
"""From a transport on which HTTP/2 is spoken, the part of the scope that all its requests share, and the client's name in the
access log, to its connection. The last says whether the connection is above the limit of concurrency and counted as such; None
if that is not known yet."""


class Ended(Protocol):
    """An exchange that is over, for access logs whose format has more than the plain line."""

    request: RequestHead
    scope: Scope
    response_headers: Iterable[tuple[bytes, bytes]]
    """Empty if there was no response."""
    status: int
    since: float
    """When it began, as of ``time.monotonic``."""

    @property
    def seconds(self) -> float:
        """From its begin to the response's end."""

    @property
    def sent(self) -> int:
        """Bytes of the response's body that went out."""


AccessLog = Callable[[str, str, str, str, int, Ended | None], None]
"""Client address, method, path with query, HTTP version, status; the exchange, if there was one."""


class Begun(Protocol):
    """Remembers which requests began last, for a supervisor that asks after a crash."""

    last: bytes
    """The target of the last one; a request for the same target need not be noted again."""

    def note(self, method: str, target: bytes) -> None:
        """A request begins."""


class Unasked:
    """Keeps nothing, because nobody asks for it."""

    last = b""

    def note(self, method: str, target: bytes) -> None:
        """Keep nothing: a path may hold a secret."""


class Service:
    """One per worker. All of it runs on the worker's event loop."""

    # Slots: of more attributes than thirty without, each would be found the slow way (CPython 3.11).
    __slots__ = (
        *("_context", "_empty", "_sweep_at", "access", "app", "begun", "connections", "counters", "date_header"),
        *(
            "defaults",
            "deliveries",
            "end",
            "gathers",
            "hand_off",
            "http2",
            "idle_until",
            "in_flight",
            "limits",
            "loop",
            "make_task",
        ),
        *(
            "meters",
            "multiplexed",
            "now",
            "on_count",
            "on_request",
            "pace",
            "pathsend",
            "phase",
            "proxies",
            "requests",
            "root_path",
        ),
        *("state", "streams", "unwanted", "websocket", "websockets"),
    )

    def __init__(
        self,
        app: Application,
        loop: asyncio.AbstractEventLoop,
        *,
        limits: Limits | None = None,
        defaults: Defaults | None = None,
        date_header: bool = True,
        root_path: str = "",
        pathsend: bool = False,
        state: dict[str, Any] | None = None,
        access: AccessLog | None = None,
        meters: Meters | None = None,
        websocket: Upgrade | None = None,
        http2: Successor | None = None,
        begun: Begun | None = None,
        proxies: Proxies | None = None,
        on_count: Callable[[int, int, int], None] = lambda connections, websockets, multiplexed: None,
        on_request: Callable[[], None] | None = None,
    ) -> None:
        """It is long because each attribute is explained where it is set."""
        self.app = app
        self.loop = loop
        self.make_task = _task_maker(loop)
        """Runs an exchange's coroutine."""
        self.gathers = not isinstance(loop, asyncio.BaseEventLoop)
        """Whether transports write several pieces at once without copying. asyncio's own do copy them before Python 3.12, and
        from then on, until 3.12.9 and 3.13.2, don't tell when their buffer is full (CVE-2024-12254)."""
        self.pace = Pace(loop)
        self.limits = limits or Limits()
        self.defaults = defaults or Defaults()
        self.date_header = date_header
        self.root_path = root_path
        self.pathsend = pathsend
        """Whether applications are offered ``http.response.pathsend``. What they send is taken either way."""
        self.state = state
        """The lifespan's state, copied into every scope; None when the application does not speak lifespan."""
        self.access = access
        self.meters: Meters = meters or Unread()
        self.counters = self.meters.counters
        self.begun: Begun = begun or Unasked()
        self.websocket = websocket
        """Takes over connections that ask for WebSocket; None to ignore such requests."""
        self.http2 = http2
        """Makes connections of HTTP/2, and takes over those that begin with its preface; None to refuse them."""
        self.proxies = proxies
        """Reads what trusted peers' headers say of their clients; None to trust no peer."""
        self.phase = Phase.SERVING
        self.now = 0.0
        """``loop.time()`` at the last tick: exact to a second, free to read."""
        self.idle_until = 0.0
        """The deadline of a connection that becomes idle now."""
        self.connections: set[Connection] = set()
        self.websockets = 0
        """How many of them are WebSockets, or about to be."""
        self.streams = 0
        """Streams of HTTP/2 beyond the first of each connection; counted only if there is a limit of concurrency."""
        self.multiplexed = 0
        """How many of them speak HTTP/2."""
        self.unwanted = 0
        """Those of them that were opened above the limit of concurrency: they are told so and closed."""
        self.hand_off: Callable[[int], bool] | None = None
        """Lets the next worker have an idle connection, given its descriptor, when this one stops; returns whether it could."""
        self.deliveries = Deliveries(self.limits.send_time)
        self._sweep_at = 0.0
        """When to look for connections that have something to send and are not watched."""
        self.in_flight: set[Work] = set()
        """Exchanges in progress: each adds itself, and leaves by :attr:`end`."""
        self.end: Callable[[Work], None] = self.in_flight.discard
        """Called with what is no longer in progress. It only discards, until :meth:`emptied` waits for the last."""
        self.requests = 0
        """Responses completed."""
        self.on_count = on_count
        """Told the number of open connections when it changes, and how many of them are WebSockets and speak HTTP/2."""
        self.on_request = on_request
        """Called after each completed response."""
        self._empty: asyncio.Future[None] | None = None
        self._context = copy_context()
        self.tick()

    def clean_context(self) -> Context:
        """A copy of the context in which the worker began to serve: nothing that a request has set is in it.

        What calls applications, now or later, is started in one. Event loops keep, for a callback and for reading that is
        resumed, the context in which it was asked for, and that may be another request's.
        """
        # A copy, since no context can be entered twice, as happens where an application runs a loop within the loop.
        return self._context.copy()

    def tick(self) -> None:
        """Once a second: renew the clock and the Date header, and do what is due."""
        if self.date_header:
            self.defaults.renew(http_date(time.time()))
        self.advance(self.loop.time())

    def advance(self, now: float) -> None:
        """Set the clock; end connections that have passed their deadline, or whose clients take nothing of what is sent to
        them."""
        self.now = now
        self.idle_until = self.deadline_in(self.limits.keep_alive_time)
        for connection in [connection for connection in self.connections if connection.deadline <= now]:
            connection.expire()
        if now >= self._sweep_at:
            self._sweep(now)
        self.deliveries.look(now)

    def deadline_in(self, seconds: float) -> float:
        """The deadline of a client that has so many ``seconds`` from now. The clock may be a second old."""
        return self.now + 1 + seconds

    def prolong_body(self, until: float, size: int) -> float:
        """The new deadline for more of a request's body, when ``size`` bytes have come and the deadline was ``until``.

        A client may pause for ``request_body_time``, and must keep to the least rate.
        """
        latest, rate = self.deadline_in(self.limits.request_body_time), self.limits.request_body_rate
        return min(latest, until + size / rate) if rate else latest

    def _sweep(self, now: float) -> None:
        """Watch the connections with deliveries that are too small to pause the application, and so were not noticed."""
        # So a client is cut off a tenth of its time too late, at most.
        self._sweep_at = now + self.limits.send_time / 10
        for connection in self.connections:
            if connection.transport.get_write_buffer_size():
                self.deliveries.watch(connection)

    def name_target(self, head: RequestHead) -> str:
        """The target for logs: with the root path, as in uvicorn's, and without characters that would end a quoted field.

        The rest of a target is ASCII without spaces and control characters, or it would have been refused.
        """
        target = self.root_path + head.target.decode("ascii")
        if '"' in target or "\\" in target:
            # As a URI spells them (RFC 3986 section 2.1).
            return target.replace('"', "%22").replace("\\", "%5C")
        return target

    def is_crowded(self, more: int = 0) -> bool:
        """Whether with ``more`` there are too many connections and streams. Those that are refused for that do not count."""
        limit = self.limits.concurrency
        return limit is not None and len(self.connections) - self.unwanted + self.streams + more > limit

    def opened(self, connection: Connection) -> None:
        """``connection`` is open from now on."""
        self.connections.add(connection)
        self.on_count(len(self.connections), self.websockets, self.multiplexed)

    def closed(self, connection: Connection) -> None:
        """``connection`` is lost, or another protocol has taken its transport."""
        self.connections.discard(connection)
        self.deliveries.forget(connection)
        self.on_count(len(self.connections), self.websockets, self.multiplexed)
        self._check_empty()

    def drain(self, phase: Phase, hand_off: Callable[[int], bool] | None = None, *, part: bool = True) -> None:
        """Rise to ``phase``. With STOPPING, idle connections close now, or go to the next worker by ``hand_off``.

        ``part``: whether what would last for ever ends now. If not, the caller ends it.
        """
        self.hand_off = hand_off or self.hand_off
        before, self.phase = self.phase, max(self.phase, phase)
        for connection in list(self.connections):
            if before is Phase.SERVING and (part or not connection.lasts()):
                connection.drain()
            if self.phase is Phase.STOPPING:
                connection.stop()

    async def emptied(self) -> None:
        """Wait until no connection is open and no exchange in progress."""
        if self.connections or self.in_flight:
            self._empty = self.loop.create_future()
            self.end = self._end
            await self._empty

    def cancel(self) -> None:
        """End all that is left: the exchanges are cancelled, then the connections aborted.

        With :attr:`hand_off`, complete responses remain in :attr:`deliveries` until their clients have taken them.
        """
        for work in list(self.in_flight):
            work.cancel()
        for connection in list(self.connections):
            if self.hand_off is not None and connection.is_owed():
                self.deliveries.watch(connection)
                self.connections.discard(connection)
            else:
                connection.abort()
        self._check_empty()

    def cancel_task(self, work: Work, task: asyncio.Task[None] | None) -> None:
        """Cancel the task in which ``work`` is done.

        One that has not begun never begins, so nothing of it would tell of its end.
        """
        if task is not None:
            coroutine = task.get_coro()
            task.cancel()
            if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                self.end(work)

    def _end(self, work: Work) -> None:
        self.in_flight.discard(work)
        self._check_empty()

    def _check_empty(self) -> None:
        if self._empty is not None and not self._empty.done() and not self.connections and not self.in_flight:
            self._empty.set_result(None)


MakeTask = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


def _task_maker(loop: asyncio.AbstractEventLoop) -> MakeTask:
    """The cheapest way to run a coroutine as a task of ``loop``, unless the application has set a way of its own.

    With a name given, asyncio need not make one up. From Python 3.12 on the task starts at once, without waiting for the
    loop's next turn; most exchanges are then complete before anything else happens.
    """
    if loop.get_task_factory() is not None:
        return loop.create_task
    make = partial(asyncio.Task, loop=loop, name="tricorn request")
    return partial(make, eager_start=True) if sys.version_info >= (3, 12) else make
