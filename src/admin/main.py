"""The admin process: Tricorn's own protocols, one event loop, and an application that reads what the supervisor shows."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config.options import Config
from ..ipc import channel
from ..ipc.waits import Waits
from ..logs import orders
from ..protocols.facts import Facts
from ..worker.current import CurrentWorker
from ..worker.lifespan import Lifespan
from ..worker.main import watch_lifeline
from ..worker.owner import OnlyPlace
from ..worker.serving import Serving
from ..worker.tls import Certificates
from .application import Admin
from .source import Source

if TYPE_CHECKING:
    from .app_metrics import AppMetrics
    from .statsd import Statsd

MAX_CONNECTIONS = 64
"""Connections at once. A further one takes the place of the one that has been idle for longest: a probe always gets in."""
END = "end"
"""The kind of the supervisor's message that ends the process."""


def main(
    config: Config,
    link: socket.socket,
    listeners: Sequence[socket.socket],
    source: Source,
    app_metrics: str | None,
    is_first: bool,
) -> int:
    """The process, from fork to exit code: answer on ``listeners`` until the supervisor ends it.

    ``app_metrics``: the directory of the application's metrics. ``is_first``: whether no such process was there before.
    """
    watch_lifeline(link)
    admin = Admin(source, config.admin_host, make_app_metrics(app_metrics))
    statsd = make_statsd(config, source, is_first)
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_serve(config, link, listeners, admin, statsd))
    return 0


def make_app_metrics(directory: str | None) -> AppMetrics | None:
    """The application's metrics, if they are wanted."""
    if directory is None:
        return None
    # Late, because most do without.
    from .app_metrics import AppMetrics

    return AppMetrics(directory)


def make_statsd(config: Config, source: Source, is_first: bool) -> Statsd | None:
    """What sends StatsD lines, if they are wanted."""
    if config.statsd is None:
        return None
    # Late, because most do without.
    from .statsd import Statsd

    return Statsd(config.statsd, config.statsd_prefix, source, is_first)


async def _serve(
    config: Config, link: socket.socket, listeners: Sequence[socket.socket], admin: Admin, statsd: Statsd | None
) -> None:
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
    serving.start()
    # Only the listener's clients see the history.
    tasks = [asyncio.ensure_future(admin.keep_history())] if listeners else []
    if statsd is not None:
        tasks.append(asyncio.ensure_future(statsd.run()))
    try:
        await Orders(link).ended()
    finally:
        for task in tasks:
            task.cancel()
        if statsd is not None:
            # The last requests count, too.
            statsd.send()
            statsd.close()
        serving.release()


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

    def _make_connection(self, transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
        connections = self.service.connections
        if len(connections) >= MAX_CONNECTIONS:
            # The deadline of a connection that answers a request is infinite, and that of an idle one the earlier the longer
            # it has been idle.
            min(connections, key=lambda connection: connection.deadline).abort()
        return super()._make_connection(transport, facts)


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
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._log = orders.LogOrders(link)
        self._decoder = channel.Decoder({**orders.TABLE, END: channel.Shape()})
        self._loop.add_reader(link.fileno(), self._read)

    async def ended(self) -> None:
        """Wait for the supervisor's end."""
        await self._end

    def _read(self) -> None:
        try:
            data = self._log.read()
            messages = self._decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, channel.Violation):
            data, messages = b"", []
        if not data or any(message["kind"] == END for message in messages):
            self._loop.remove_reader(self._link.fileno())
            if not self._end.done():
                self._end.set_result(None)
            return
        for message in messages:
            self._log.obey(message)
