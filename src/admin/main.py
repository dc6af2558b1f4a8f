"""The admin process: Tricorn's own protocols, one event loop, and an application that reads what the supervisor shows."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..config.frozen import Value
from ..config.options import Config
from ..ipc import channel
from ..ipc.waits import Waits
from ..logs import orders
from ..protocols.context import Phase
from ..protocols.facts import Facts
from ..protocols.http1.connection import HttpConnection
from ..worker.current import CurrentWorker
from ..worker.lifespan import Lifespan
from ..worker.main import watch_lifeline
from ..worker.owner import OnlyPlace
from ..worker.serving import Serving
from ..worker.tls import Certificates
from .application import Admin
from .measures import Measures
from .source import Source

if TYPE_CHECKING:
    from .app_metrics import AppMetrics

MAX_CONNECTIONS = 64
"""Connections at once. A further one takes the place of the one that has been idle for longest: a probe always gets in."""
LEAVING = 5.0
"""Seconds in which a process that is replaced finishes what it has accepted, such as events."""
END = "end"
"""The kind of the supervisor's message that ends the process."""


class Given(Value):
    """What the supervisor gives the process, beside the options and what it shows."""

    listeners: Sequence[socket.socket]
    """On which the process answers; empty without ``--admin-bind``."""
    app_metrics: str | None
    """The directory of the application's metrics."""
    pid: int
    """The supervisor's."""
    began: float
    """When it started, in seconds of the wall clock."""
    is_first: bool = True
    """Whether no such process was there before."""


def main(config: Config, link: socket.socket, source: Source, given: Given) -> int:
    """The process, from fork to exit code: answer and push until the supervisor ends it."""
    watch_lifeline(link)
    measures = Measures(source)
    app_metrics = make_app_metrics(given.app_metrics)
    admin = Admin(source, measures, config.admin_host, app_metrics)
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        lives = [measures.keep_memory()]
        if given.listeners:
            # Only the listener's clients see the history.
            lives.append(admin.keep_history())
        if app_metrics is not None:
            lives.append(app_metrics.keep_folded(source.pids))
        runner.run(_live(config, link, given, admin, lives, make_pushers(config, source, measures, given)))
    return 0


def make_app_metrics(directory: str | None) -> AppMetrics | None:
    """The application's metrics, if they are wanted."""
    if directory is None:
        return None
    # Late, because most do without.
    from .app_metrics import AppMetrics

    return AppMetrics(directory)


class Pusher(Protocol):
    """Sends the metrics to where they are wanted. Its failures do not disturb the listener."""

    async def run(self) -> None:
        """Send for ever."""

    async def finish(self) -> None:
        """Send for the last time: the last requests count, too. It takes a bounded time."""


def make_pushers(config: Config, source: Source, measures: Measures, given: Given) -> list[Pusher]:
    """What sends the metrics."""
    pushers: list[Pusher] = []
    # Late, because most do without.
    if config.statsd is not None:
        from .statsd import Statsd

        pushers.append(Statsd(config.statsd, config.statsd_prefix, source, given.is_first))
    if config.otlp_endpoint is not None:
        from .otlp import Otlp

        pushers.append(Otlp(config.otlp_endpoint, measures, given.pid, given.began))
    return pushers


async def _live(
    config: Config,
    link: socket.socket,
    given: Given,
    admin: Admin,
    lives: Iterable[Coroutine[Any, Any, None]],
    pushers: Sequence[Pusher],
) -> None:
    serving = await _serve(config, given.listeners, admin)
    tasks = [asyncio.ensure_future(life) for life in (*lives, *(pusher.run() for pusher in pushers))]
    is_replaced = False
    try:
        is_replaced = await Orders(link).ended()
    finally:
        if is_replaced:
            # What we have accepted is answered by us.
            serving.drain(Phase.DRAINING, grace=LEAVING)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*(pusher.finish() for pusher in pushers))
        if is_replaced:
            await serving.finish()
        serving.release()


async def _serve(config: Config, listeners: Sequence[socket.socket], admin: Admin) -> AdminServing:
    """Begin to answer on ``listeners``."""
    lifespan = Lifespan(admin, "off")
    settings = _settings(config)
    serving = AdminServing(
        settings,
        admin,
        listeners,
        lifespan=lifespan,
        certificates=Certificates(settings),
        current=CurrentWorker(0, os.getpid()),
        owner=Nobody(),
        place=OnlyPlace(),
    )
    await serving.start()
    return serving


def _settings(config: Config) -> Config:
    """The options of the admin listener: short times, small requests, no log. Those of the application do not apply."""
    return Config(
        app=config.app,
        access_log=False,
        log_level=config.log_level,
        http2=False,
        ws="none",
        report_stalls=0,
        proxy_headers=False,
        lifespan="off",
        loop="asyncio",
        limit_request_body=0,
        timeout_keep_alive=10,
        timeout_request_head=10,
        timeout_send=10,
    )


class AdminServing(Serving):
    """Serves the admin's application, with a bound on connections."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._open: list[HttpConnection] = []
        """Oldest first, without those that are about to close. The service has these, too, until their end is told."""

    def _make_connection(self, transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
        self._open = [one for one in self._open if not one.transport.is_closing()]
        if len(self._open) >= MAX_CONNECTIONS:
            # The deadline of a connection that answers a request is infinite, and that of an idle one the earlier the longer
            # it has been idle.
            min(self._open, key=lambda connection: connection.deadline).abort()
        connection = HttpConnection(self._http1, transport, facts)
        self._open.append(connection)
        return connection


class Nobody:
    """The owner of what serves here: it tells no other process."""

    def beat(self) -> None:
        """Nothing to tell."""

    def retire(self, reason: str) -> bool:
        """It is never replaced for age or requests."""
        return True

    def waiting(self, waits: Waits) -> None:
        """Nothing to tell."""

    def delivering(self) -> None:
        """Nothing to tell."""

    def active(self) -> None:
        """Nothing to tell."""

    def stalled(self, seconds: float) -> None:
        """Nothing to tell."""


class Orders:
    """What the supervisor says: orders that concern the log. Its end is ours."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[bool] = self._loop.create_future()
        self._log = orders.LogOrders(link)
        self._decoder = channel.Decoder({**orders.TABLE, END: channel.Shape(optional={"replaced": channel.flag})})
        self._loop.add_reader(link.fileno(), self._read)

    async def ended(self) -> bool:
        """Wait for the supervisor's end, or its order to end; returns whether another process answers from now on."""
        return await self._end

    def _read(self) -> None:
        try:
            data = self._log.read()
            messages = self._decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, channel.Violation):
            data, messages = b"", []
        end = next((message for message in messages if message["kind"] == END), None)
        if not data or end is not None:
            self._loop.remove_reader(self._link.fileno())
            if not self._end.done():
                self._end.set_result(end is not None and end.get("replaced", False))
            return
        for message in messages:
            self._log.obey(message)
