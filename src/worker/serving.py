"""Serve one application on one event loop: accept, drain, end."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config.options import Config, reload_grace
from ..ipc.handover import Ends, Handover
from ..ipc.scoreboard import BEAT_PERIOD, Field
from ..ipc.waits import Waits, describe, name_request
from ..logs.access import Access
from ..logs.setup import make_access
from ..protocols.asgi import Application, Scope
from ..protocols.context import Phase, Service, Successor, Upgrade
from ..protocols.facts import Facts
from ..protocols.http1.connection import HttpConnection
from ..protocols.http1.shared import Http1
from ..protocols.proxy.headers import Proxies
from ..protocols.request import RequestHead
from ..protocols.scope import connection_scope
from .acceptor import Acceptor
from .assembly import codec_of, lane_of, make_defaults, make_limits, make_setup
from .current import CurrentWorker
from .heartbeat import Heartbeat
from .lifespan import Lifespan
from .owner import Owner, Place
from .pulse import Pulse, is_wanted
from .readiness import Readiness
from .recycling import Recycling
from .setup import trusted_by
from .tls import Certificates

if TYPE_CHECKING:
    from .parting import Parting

logger = logging.getLogger("tricorn.error")

PARTING = 0.9
"""The part of a stop's grace in which ``--drain-over`` ends what lasts; the rest is for clients to answer that."""
MARGIN = 0.5
"""Seconds before the end of the grace at which what is left is cancelled, so that the worker is gone when it ends."""


class Serving:
    """Serves an application that has started up, until a drain is ordered and done.

    The owner (see owner.py) makes it on the running event loop and calls :meth:`start`. :meth:`drain` may come at any time, and
    again; each further order may only be stricter. :meth:`finish` waits for the order and for its end, then shuts the
    application down.

    Parts do the work. The :class:`Acceptor` takes connections, the :class:`Setup` leads each to its protocol, the
    :class:`Service` knows who is being served, the :class:`Heartbeat` turns once a second, and the :class:`Recycling` looks for
    a reason to be replaced.
    """

    def __init__(
        self,
        config: Config,
        app: Application,
        listeners: Sequence[socket.socket],
        *,
        lifespan: Lifespan,
        certificates: Certificates,
        current: CurrentWorker,
        owner: Owner,
        place: Place,
        access: Access | None = None,
        handover: Ends | None = None,
    ) -> None:
        """``lifespan`` has started up. ``access`` is the access log, if it is to be another than the options ask for;
        ``handover`` takes idle connections to newer workers, and brings those of older ones."""
        self._loop = loop = asyncio.get_running_loop()
        self._config = config
        self._lifespan = lifespan
        self._certificates = certificates
        self._current = current
        self._owner = owner
        self._row = place.row
        self._meters = place.meters
        self._begun = place.begun
        self._logs_requests = access is not None or (config.access_log and config.log_level in ("trace", "debug", "info"))
        self._access = access or make_access(config, loop)
        self._websocket: Upgrade | None = None
        """Takes over connections that ask for WebSocket, once it is loaded."""
        self._http2: Successor | None = None
        """Makes connections of HTTP/2, once it is loaded."""
        setup = make_setup(config, loop, certificates)
        self._acceptor = Acceptor(loop, listeners, self._make_connection, setup, place, config.backlog)
        self._handover = Handover(handover, loop, self._acceptor.take) if handover is not None else None
        self.service = self._make_service(app)
        self._http1 = Http1(self.service, codec_of(config.http), lane_of(config.http))
        self._recycling = Recycling(config, owner.retire)
        self._heartbeat = Heartbeat(self._row, self._meters, self.service, self._tick)
        self._pulse = Pulse(self.service, self._row, owner, config) if is_wanted(config) else None
        self._born = loop.time()
        self._ordered = asyncio.Event()
        """A drain was ordered."""
        self._hands_off = False
        """Newer workers serve on: idle connections, and those that are not accepted yet, are theirs."""
        self._is_abandoned = False
        self._parting: Parting | None = None
        self._last_moment: asyncio.TimerHandle | None = None
        """When the grace of a drain ends."""

    async def warm_up(self, seconds: float) -> None:
        """Before the start: ask the application for what ``--warm-path`` names, within ``seconds``. Raises AppError."""
        if self._config.warm_path:
            # Late, because most operators name none.
            from .warming import warm_up

            await warm_up(self.service, self._config.warm_path, seconds)

    async def start(self) -> None:
        """Accept connections from now on."""
        self._heartbeat.start()
        self._row[Field.SERVING] = 1
        await self._acceptor.start()
        if self._handover is not None:
            self._handover.start()

    def drain(self, phase: Phase, *, grace: float | None = None, hand_off: bool = False) -> None:
        """Accept no more and finish what is in flight within ``grace`` seconds, by default those of the options.

        ``hand_off``: newer workers serve on, so what has not been asked yet is theirs.
        """
        if grace is None:
            grace = self._config.timeout_graceful_shutdown if phase is Phase.STOPPING else reload_grace(self._config)
        grace -= min(MARGIN, grace / 4)
        self._limit(grace)
        self._row[Field.SERVING] = 0
        self._current.begin_draining()
        self._hands_off = hand_off
        self._ordered.set()
        # On a stop no other worker is going to take what waits in the listener's queue.
        self._acceptor.stop(empty=phase is Phase.STOPPING and not hand_off)
        if self._handover is not None:
            self._handover.stop()
        # With the PROXY protocol connections stay: only this worker has read the header that named the client.
        may_give = hand_off and not self._config.proxy_protocol
        give = self._handover.give if may_give and self._handover is not None else None
        is_parting = self._part(min(self._config.drain_over, grace * PARTING), hand_off)
        self.service.drain(phase, give, part=not is_parting)

    @property
    def is_parting(self) -> bool:
        """Whether WebSockets and event streams still end one by one (``--drain-over``)."""
        return self._parting is not None and not self._parting.is_over

    def _part(self, seconds: float, hand_off: bool) -> bool:
        """End what lasts spread over so many ``seconds``, if that was asked for; returns whether it is done so."""
        if self._parting is not None:
            self._parting.hasten(seconds)
        elif seconds > 0 and not hand_off and self.service.phase is Phase.SERVING:
            # Late, because most operators end all at once.
            from .parting import Parting

            self._parting = Parting(self.service, seconds)
        return self._parting is not None

    async def finish(self) -> None:
        """Wait until a drain is ordered and done, then shut the application down."""
        await self._ordered.wait()
        await self._acceptor.settled()
        await self.service.emptied()
        if not self._is_abandoned:
            await self._lifespan.shutdown()
        # With --reload the grace is short, and complete responses need not be lost for it: the next worker serves already.
        while self._hands_off and self.service.deliveries:
            self._owner.delivering()
            await asyncio.sleep(BEAT_PERIOD)
        self.release()

    def tell_waits(self) -> None:
        """Tell the owner what a drain waits for."""
        self._owner.waiting(self._waits())

    def abandon(self) -> None:
        """Order a drain that waits for nothing, not even for the application's shutdown."""
        self._is_abandoned = True
        self.drain(Phase.STOPPING, hand_off=self._hands_off)
        self._give_up()

    def release(self) -> None:
        """Leave nothing on the event loop, which may run on: at the end, or where :meth:`finish` is not waited for."""
        self._heartbeat.stop()
        if self._pulse is not None:
            self._pulse.stop()
        if self._last_moment is not None:
            self._last_moment.cancel()
        if self._parting is not None:
            self._parting.stop()
        self._acceptor.stop(empty=False)
        self.service.cancel()
        self._access.flush()

    def _make_service(self, app: Application) -> Service:
        config = self._config
        return Service(
            app if config.ready_path is None else Readiness(app, config.ready_path, lambda: self._current.is_ready),
            self._loop,
            limits=make_limits(config),
            defaults=make_defaults(config),
            date_header=config.date_header,
            root_path=config.root_path,
            pathsend=config.pathsend,
            state=self._lifespan.state,
            access=self._logged() if self._logs_requests else None,
            meters=self._meters,
            begun=self._begun,
            websocket=self._upgrade if config.ws != "none" and config.interface != "wsgi" else None,
            http2=self._make_http2 if config.http2 else None,
            proxies=Proxies(trusted_by(config)) if config.proxy_headers else None,
            on_count=self._acceptor.publish,
            on_request=self._look_for_reason if config.limit_max_requests else None,
        )

    def _logged(self) -> Access:
        """The access log; with ``--reload`` without the requests that our own pages make."""
        if not self._config.reload:
            return self._access
        from .development import WithoutWaiting

        return WithoutWaiting(self._access)

    def _make_connection(self, transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
        """The connection that ``facts`` call for. Without TLS the first bytes may call for another (see HttpConnection)."""
        if facts.alpn == "h2":
            return self._make_http2(transport, *connection_scope(self.service, facts), None)
        return HttpConnection(self._http1, transport, facts)

    def _make_http2(self, transport: asyncio.Transport, scope: Scope, peer: str, is_unwanted: bool | None) -> asyncio.Protocol:
        """Load HTTP/2 when the first client speaks it: behind a proxy none does, and it would slow down the start."""
        if self._http2 is None:
            from ..protocols.http2.connection import make_http2

            self._http2 = make_http2(self.service)
        return self._http2(transport, scope, peer, is_unwanted)

    def _upgrade(self, transport: asyncio.Transport, head: RequestHead, base: Scope, client: str) -> asyncio.Protocol:
        """Load WebSocket when the first client asks for it: most applications do without, and it is a tenth of the start-up."""
        if self._websocket is None:
            from .websocket import make_upgrade

            self._websocket = make_upgrade(self._http1, self._config, self._access.line if self.service.access else None)
        if self._pulse is not None:
            self._pulse.wake()
        return self._websocket(transport, head, base, client)

    def _tick(self, now: float) -> None:
        """Once a second."""
        age = now - self._born
        if self._ordered.is_set():
            self.tell_waits()
        elif self._row[Field.SERVING]:
            self._owner.beat()
        self._certificates.refresh()
        self._acceptor.tick(len(self.service.in_flight))
        self._recycling.check(self.service.requests, age)

    def _look_for_reason(self) -> None:
        self._recycling.check(self.service.requests, self.service.now - self._born)

    def _limit(self, seconds: float) -> None:
        """Give up in so many seconds, unless that is due earlier already."""
        if self._last_moment is None or self._loop.time() + seconds < self._last_moment.when():
            if self._last_moment is not None:
                self._last_moment.cancel()
            self._last_moment = self._loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self.service.in_flight:
            logger.warning("Cancelled, because the grace is over: %s", describe([self._waits()]))
        self._acceptor.give_up()
        self.service.cancel()

    def _waits(self) -> Waits:
        """What a drain waits for."""
        service = self.service
        oldest = min(service.in_flight, key=lambda work: work.since, default=None)
        name, age = (oldest.describe(), time.monotonic() - oldest.since) if oldest is not None else ("", 0.0)
        return Waits(len(service.in_flight), name_request(name), age, len(service.connections))
