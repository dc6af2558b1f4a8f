"""Serve: start up, accept, drain."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..config.options import DEFAULTS, Config
from ..ipc import channel
from ..ipc.handover import Handover
from ..ipc.scoreboard import Field, Scoreboard
from ..ipc.text import many_lines
from ..ipc.waits import Waits, describe, name_request
from ..logs.access import Access
from ..logs.files import MAX_FILES
from ..logs.setup import adopt, make_access
from ..protocols.asgi import Application, Scope
from ..protocols.context import Phase, Service
from ..protocols.facts import Facts
from ..protocols.http1 import fast
from ..protocols.http1.codec import Codec
from ..protocols.http1.connection import HttpConnection
from ..protocols.http1.response import Defaults
from ..protocols.limits import Limits
from ..protocols.proxy.headers import Proxies
from ..protocols.request import RequestHead
from .acceptor import Acceptor
from .current import CurrentWorker, enter
from .late import LateImports, names
from .lifespan import Lifespan
from .readiness import Readiness
from .setup import Setup, trusted_by
from .tls import Certificates

if TYPE_CHECKING:
    # What only --reload or --hooks needs is imported when it does.
    from .error_page import ErrorPage
    from .hooks import WorkerHooks
    from .modules import Report

logger = logging.getLogger("tricorn.error")

TELL_MODULES = 0.1
"""Seconds from ready until the supervisor is told what was imported."""
UNASKED = 5.0
"""Seconds that a worker waits for its first request before it imports what later ones may need."""
BEAT = 1.0
"""Seconds between beats."""
ORPHAN_GRACE = 0.7
"""Seconds that requests get to finish when the supervisor has died: the port must be free within a second."""
MARGIN = 0.5
"""Seconds before the end of the grace at which what is left is cancelled, so that the worker is gone when it ends."""


class Server:
    """One worker's life on its event loop, from application start-up to the end of its drain."""

    def __init__(
        self,
        config: Config,
        app: Application,
        link: socket.socket,
        listeners: Sequence[socket.socket],
        scoreboard: Scoreboard,
        row: int,
        slot: int,
        generation: int = 0,
    ) -> None:
        """``row`` is the worker's own in ``scoreboard``."""
        self._config = config
        self._app = app
        self._link = link
        self._outbox = channel.Outbox(link)
        self._decoder = channel.Decoder(channel.TO_WORKER)
        self._received: list[int] = []
        """Descriptors that came through the channel, for the next message that speaks of some."""
        self._listeners = listeners
        self._scoreboard = scoreboard
        self._index = row
        self._row = scoreboard.row(row)
        self.lifespan = Lifespan(app, config.lifespan)
        self._current = enter(CurrentWorker(slot, os.getpid(), generation))
        self.certificates = Certificates(config)
        self._trusted = trusted_by(config)
        self._acceptor: Acceptor | None = None
        self.handover: Handover | None = None
        self.hooks: WorkerHooks | None = None
        self.access: Access | None = None
        """The access log, if it is to be another than the options ask for."""
        self.error_page: ErrorPage | None = None
        """The application, if it is the page that shows why the real one does not start."""
        self._report: Report | None = None
        self._retiring = False
        self._leaving = False
        """A stop has been announced."""
        self._heirs = False
        """Whether newer workers serve on, so that what has not been asked yet is theirs."""
        self._abandoned = False
        self._ordered = asyncio.Event()
        """A drain was ordered."""
        self._beat_due = 0.0
        self._next_beat: asyncio.TimerHandle | None = None
        self._last_moment: asyncio.TimerHandle | None = None
        """When the grace of a drain ends."""

    async def serve(self) -> None:
        """Live the life of a worker process. Raises AppError when the application does not start."""
        self._loop = asyncio.get_running_loop()
        signal.signal(signal.SIGTERM, self.handle_exit)
        # A signal in the middle of a system call of the application's must not fail it (sigaction(2), SA_RESTART).
        signal.siginterrupt(signal.SIGTERM, False)
        if channel.DRAIN_SIGNAL != signal.SIGTERM:
            signal.signal(channel.DRAIN_SIGNAL, self._drain_by_signal)
            signal.siginterrupt(channel.DRAIN_SIGNAL, False)
        await self.start()
        # What lives now is here to stay: the collector need not look at it again and again, nor unshare its pages.
        gc.freeze()
        if self.hooks is not None and not self._ordered.is_set():
            self.hooks.ready()
        await self.finish()
        if self.hooks is not None:
            await self.hooks.stop()

    @property
    def should_exit(self) -> bool:
        """Whether the worker leaves, be it for a stop, a reload or a recycling.

        Libraries whose responses last for ever look for it on the object whose method handles SIGTERM, and end them.
        """
        return self._ordered.is_set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM: a method, so that :attr:`should_exit` can be found behind it."""
        # After the loop's end the worker is leaving already.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._terminated)

    def _drain_by_signal(self, number: int, frame: FrameType | None) -> None:
        """The supervisor's order to drain, which was lost on its way through the channel."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.drain, Phase.STOPPING)

    async def start(self) -> None:
        """Start the application up and accept connections, unless a drain was ordered before. Raises AppError."""
        self._loop = loop = asyncio.get_running_loop()
        loop.add_reader(self._link.fileno(), self._read_link)
        await self.lifespan.startup()
        self.service = self._make_service()
        self._acceptor = acceptor = Acceptor(
            loop, self._listeners, self._make_connection, self._make_setup().admit, self._scoreboard, self._index
        )
        self._late = LateImports(loop, names(self._config), lambda: not self.service.in_flight)
        self._born = self._beat_due = loop.time()
        self._beat()
        if not self._ordered.is_set():
            self._row[Field.SERVING] = 1
            acceptor.start()
            if self.handover is not None:
                self.handover.start(loop, acceptor.take)
            self._say(channel.READY, **({"error": many_lines(self.error_page.text)} if self.error_page is not None else {}))
            if self._config.reload:
                # After those who wait for the new code.
                loop.call_later(TELL_MODULES, self._tell_modules)

    async def finish(self) -> None:
        """Wait until a drain is ordered and done, then shut the application down."""
        assert self._acceptor is not None
        await self._ordered.wait()
        await self._acceptor.settled()
        await self.service.emptied()
        if not self._abandoned:
            await self.lifespan.shutdown()
        # With --reload the grace is short, and what is complete need not be lost for it: the next worker serves already.
        while self._heirs and self.service.deliveries:
            self._say(channel.DELIVERING)
            await asyncio.sleep(BEAT)
        self.release()

    def abandon(self) -> None:
        """Order a drain that waits for nothing, not even for the application's shutdown."""
        self._abandoned = True
        self.drain(Phase.STOPPING)
        self._give_up()

    def release(self) -> None:
        """Leave nothing on the event loop, which may run on: at the end, or where :meth:`finish` is not waited for."""
        self._loop.remove_reader(self._link.fileno())
        self._loop.remove_writer(self._link.fileno())
        for timer in (self._next_beat, self._last_moment):
            if timer is not None:
                timer.cancel()
        if self._acceptor is not None:
            self._late.cancel()
            self._acceptor.stop(empty=False)
            self.service.cancel()
            self._access.flush()

    def _make_service(self) -> Service:
        config = self._config
        logs = self.access is not None or (config.access_log and config.log_level in ("trace", "debug", "info"))
        self._access = self.access or make_access(config, self._loop)
        service = Service(
            self._app if config.ready_path is None else Readiness(self._app, config.ready_path, self._is_ready),
            self._loop,
            codec_of(config.http),
            fast=fast.lane if config.http == "auto" else None,
            limits=make_limits(config),
            defaults=make_defaults(config),
            date_header=config.date_header,
            root_path=config.root_path,
            pathsend=config.pathsend,
            state=self.lifespan.state,
            access=self._access if logs else None,
            timed=logs and self._access.timed,
        )
        if config.ws != "none" and config.interface != "wsgi":
            service.websocket = self._upgrade
        if config.proxy_headers:
            service.proxies = Proxies(self._trusted)
        service.on_count = self._count_connections
        if config.limit_max_requests:
            import random

            self._last_request = config.limit_max_requests + random.randint(0, config.limit_max_requests_jitter)
            service.on_request = self._count_request
        if config.limit_max_lifetime is not None:
            import random

            self._lifetime = config.limit_max_lifetime * random.uniform(1, 1.1)
        return service

    def _is_ready(self) -> bool:
        return not self._leaving and self.service.phase is Phase.SERVING

    def _make_setup(self) -> Setup:
        config = self._config
        return Setup(
            self._loop,
            self.certificates,
            proxies=self._trusted if config.proxy_protocol else None,
            proxy_time=config.timeout_request_head,
            handshake_time=config.timeout_ssl_handshake,
        )

    def _make_connection(self, transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
        """The connection that ``facts`` call for. There is one protocol to begin with; another one is chosen here."""
        return HttpConnection(self.service, transport, facts)

    def _upgrade(self, transport: asyncio.Transport, head: RequestHead, base: Scope, client: str) -> asyncio.Protocol:
        """Load WebSocket when the first client asks for it: most applications do without, and it is a tenth of the start-up."""
        from .websocket import make_upgrade

        self.service.websocket = make_upgrade(self.service, self._config, self._access.line if self.service.access else None)
        return self.service.websocket(transport, head, base, client)

    # Once a second.

    def _beat(self) -> None:
        """Prove that the event loop turns, publish the counts, and do what a timer per connection would cost too much for."""
        now = self._loop.time()
        row, service = self._row, self.service
        row[Field.BEAT] = time.monotonic()
        row[Field.LAG] = now - self._beat_due
        row[Field.IN_FLIGHT] = len(service.in_flight)
        row[Field.REQUESTS] = service.requests
        service.tick()
        if self._ordered.is_set():
            self._say(channel.WAITING, **vars(self._waits()))
        self.certificates.refresh()
        if self._acceptor is not None:
            self._acceptor.tick()
        if service.requests or now - self._born >= UNASKED:
            self._late.begin()
        if self._config.reload and row[Field.SERVING]:
            self._tell_modules()
        if self._config.limit_max_lifetime is not None and now - self._born >= self._lifetime:
            self._retire(f"--limit-max-lifetime {self._config.limit_max_lifetime:g} s reached")
        self._beat_due = now + BEAT
        self._next_beat = self._loop.call_at(self._beat_due, self._beat)

    def _count_connections(self, count: int) -> None:
        assert self._acceptor is not None
        self._acceptor.publish(count)

    def _count_request(self) -> None:
        if self.service.requests >= self._last_request:
            self._retire(f"--limit-max-requests {self._config.limit_max_requests} reached")

    # What supervisor and worker say to each other.

    def _say(self, kind: str, **details: Any) -> bool:
        """Whether it goes out: not if the supervisor is dead (the reader sees that too) or does not listen."""
        return self._send(channel.encode(kind, **details))

    def _send(self, message: bytes) -> bool:
        is_taken = self._outbox.send(message)
        if not self._outbox.is_empty:
            self._loop.add_writer(self._link.fileno(), self._send_rest)
        return is_taken

    def _send_rest(self) -> None:
        if not self._outbox.flush() or self._outbox.is_empty:
            self._loop.remove_writer(self._link.fileno())

    def _terminated(self) -> None:
        """SIGTERM. Whoever signals a whole process group means the supervisor, which hears it too: it alone decides."""
        if not self._retire("it got SIGTERM"):
            self.drain(Phase.STOPPING)

    def _retire(self, why: str) -> bool:
        """Ask to be replaced, once; whether the supervisor could be asked."""
        if self._retiring:
            return True
        self._retiring = True
        return self._say(channel.RETIRE, reason=why)

    def _tell_modules(self) -> None:
        """Let the supervisor know what was imported since, in a handler perhaps."""
        if self._report is None:
            from .modules import Report

            self._report = Report()
        files = self.error_page.files if self.error_page is not None else ()
        for message in self._report.news(files):
            if not self._send(message):
                return

    def _read_link(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._link, 65536, MAX_FILES)
            self._received += descriptors
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._link.fileno())
            logger.error("The supervisor is gone: worker stops")
            self._heirs = False
            self.drain(Phase.STOPPING, ORPHAN_GRACE)
            return
        try:
            messages = self._decoder.feed(data)
        except channel.Violation as violation:
            # The application has read from our end, perhaps.
            self._loop.remove_reader(self._link.fileno())
            logger.error("The supervisor can't be understood, it says %s: worker stops", violation)
            self.drain(Phase.STOPPING)
            return
        for message in messages:
            self._obey(message)

    def _obey(self, message: channel.Message) -> None:
        if message["kind"] == channel.DRAIN:
            self._heirs = bool(message.get("hand_on"))
            self.drain(Phase.DRAINING if message.get("patient") else Phase.STOPPING)
        elif message["kind"] == channel.PROBE:
            self._say(channel.ALIVE)
        elif message["kind"] == channel.REOPEN:
            adopt(dict(zip(message["files"], self._received, strict=False)))
            self._received.clear()
        elif message["kind"] == channel.UNREADY:
            self._leaving = True
            self._current.is_ready = False

    # The end.

    def drain(self, phase: Phase, grace: float | None = None) -> None:
        """Accept no more and finish what is in flight within ``grace`` seconds; a second order may only be stricter."""
        grace = self._config.timeout_graceful_shutdown if grace is None else grace
        last_moment: asyncio.TimerHandle | None = self._loop.call_later(grace - min(MARGIN, grace / 4), self._give_up)
        if self._last_moment is None or grace < self._last_moment.when() - self._loop.time():
            self._last_moment, last_moment = last_moment, self._last_moment
        if last_moment is not None:
            last_moment.cancel()
        self._row[Field.SERVING] = 0
        self._current.is_ready = False
        self._ordered.set()
        if self._acceptor is not None:
            # On a stop nobody else is going to take what waits in the listener's queue.
            self._acceptor.stop(empty=phase is Phase.STOPPING and not self._heirs)
            if self.handover is not None:
                self.handover.stop()
            if self._heirs and self.handover is not None and not self._config.proxy_protocol:
                # With that protocol, who the client is was said by the header that has been read.
                self.service.hand_on = self.handover.give
            self.service.drain(phase)
        if self.error_page is not None:
            self.error_page.release()

    def _waits(self) -> Waits:
        """What a drain waits for."""
        service = self.service
        oldest = min(service.in_flight, key=lambda work: work.since, default=None)
        name, age = (oldest.describe(), self._loop.time() - oldest.since) if oldest is not None else ("", 0.0)
        return Waits(len(service.in_flight), name_request(name), age, len(service.connections))

    def _give_up(self) -> None:
        if self._acceptor is None:
            # Still starting up: nobody is served, and there is nothing to finish.
            return
        if self.service.in_flight:
            logger.warning("Cancelled, for the grace is over: %s", describe([self._waits()]))
        self._acceptor.give_up()
        self.service.cancel()


def make_limits(config: Config) -> Limits:
    """What the options say of clients' limits."""
    head, line, field = config.limit_request_head, config.limit_request_line, config.limit_request_field_size
    if (most := config.h11_max_incomplete_event_size) is not None:
        head = most
        # Uvicorn has no limits of lines: who asks for room for a large head wants room for its lines, too.
        line = max(line, most) if line == DEFAULTS["limit_request_line"] else line
        field = max(field, most) if field == DEFAULTS["limit_request_field_size"] else field
    return Limits(
        # No part of a head is larger than it: the parser relies on that.
        request_line=min(line, head),
        head=head,
        header_count=config.limit_request_fields,
        field_size=min(field, head),
        trailers=config.limit_request_trailers,
        body=config.limit_request_body,
        buffer=config.limit_request_buffer,
        concurrency=config.limit_concurrency,
        request_head_time=config.timeout_request_head,
        request_body_time=config.timeout_request_body,
        request_body_rate=config.limit_request_body_rate,
        send_time=config.timeout_send,
        keep_alive_time=config.timeout_keep_alive,
    )


def make_defaults(config: Config) -> Defaults:
    """The header lines that ``--header`` and ``--server-header`` put into every response."""
    lines = []
    server = b"server: tricorn\r\n" if config.server_header else b""
    for line in config.header:
        name, _, value = line.partition(":")
        lines.append(f"{name.strip()}: {value.strip()}\r\n".encode("latin-1"))
        if name.strip().lower() == "server":
            server = b""
    return Defaults(server=server, extra=b"".join(lines))


def codec_of(choice: str) -> Codec:
    """The codec of ``--http choice``. ``auto`` is the fast lane with h11 behind it: it measures best."""
    if choice == "httptools":
        from ..protocols.http1 import httptools_codec

        return httptools_codec.parse
    if choice == "h11":
        from ..protocols.http1 import h11_codec

        return h11_codec.parse
    return reference


def reference(raw: bytes) -> RequestHead:
    """As h11_codec.parse, which is loaded when the fast lane declines for the first time: that is a tenth of the start-up."""
    from ..protocols.http1 import h11_codec

    return h11_codec.parse(raw)
