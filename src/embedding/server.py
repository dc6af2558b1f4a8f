"""``tricorn.Server``: serves on a program's own event loop, in its process and without a supervisor; names as uvicorn's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import random
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from ..config import options
from ..config.frozen import replace
from ..errors import EXIT_STARTUP, AppError, ConfigError
from ..ipc.waits import Waits, describe
from ..logs.access import Access
from ..protocols.context import Phase
from ..supervisor.hangup import is_typed
from ..supervisor.listeners import Listeners, bind, set_nodelay
from ..version import __version__
from ..worker import endure
from ..worker.current import CurrentWorker, enter
from ..worker.owner import OnlyPlace
from ..worker.serving import Serving
from ..worker.tls import Certificates
from .config import Config
from .lifespan import LifespanOn
from .views import Listening, ServerState

logger = logging.getLogger("tricorn.error")

TICK = 0.1
"""Seconds between two calls of a subclass's :meth:`Server.on_tick`."""
HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GivenContext(Certificates):
    """TLS by a context that the program has made, and may renew."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context  # type: ignore[assignment]  # only what it adds is missed, in the scope's TLS extension

    def refresh(self) -> None:
        """Nothing is known of its files."""


class Program:
    """The owner of what serves in this process (see worker/owner.py)."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.tell_waits_at = math.inf
        """When to say what a stop waits for, as of ``time.monotonic``: an ordinary request takes less."""

    def beat(self) -> None:
        """No supervisor waits for it."""

    def retire(self, reason: str) -> bool:
        """The server has no successor, so it stops."""
        if not self._server.should_exit:
            logger.info("Stopping: %s", reason)
            self._server.should_exit = True
        return True

    def waiting(self, waits: Waits) -> None:
        """Say once what a stop waits for."""
        if time.monotonic() >= self.tell_waits_at:
            self.tell_waits_at = math.inf
            again = "Ctrl-C again to stop now" if is_typed() else "SIGINT stops now"
            grace = self._server.config.settings().timeout_graceful_shutdown
            logger.info("Waiting for %s, up to %g s; %s", describe([waits]), grace, again)

    def delivering(self) -> None:
        """Only a worker that hands connections on gets here."""

    def active(self) -> None:
        """No process looks at this one from outside."""

    def stalled(self, seconds: float) -> None:
        """The same."""


class Server:
    """Serves one application in this process. ``should_exit`` and ``force_exit`` may be set from any thread."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        """Whether connections are accepted, or were."""
        self.servers: list[Listening] = []
        self.server_state = ServerState()
        self.lifespan: LifespanOn | None = None
        """The application's lifespan, from the start on; a program may put one here that ``config.lifespan_class`` has made."""
        self.last_notified = 0.0
        """When ``callback_notify`` was called last, as of ``time.time``."""
        self._should_exit = self._force_exit = False
        self._captured: list[int] = []
        self._program = Program(self)
        self._is_begun = False
        """From the beginning of :meth:`startup` until all has ended."""
        self._serving: Serving | None = None
        """What serves, once the application has started up."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that the events below belong to."""
        self._changed = asyncio.Event()
        """One of the two flags was set, or the worker wants to end."""
        self._start_over = asyncio.Event()
        """The start-up has ended, well or not; each start-up has its own."""
        self._ending: asyncio.Task[None] | None = None
        """Finishes what is in flight and shuts the application down: one task, however many ask for it."""

    @property
    def should_exit(self) -> bool:
        """Set it to stop: accept no more, finish what is in flight, shut the application down."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, wanted: bool) -> None:
        self._should_exit = wanted
        self._wake()

    @property
    def force_exit(self) -> bool:
        """Set it, too, to wait for nothing, not even for the application's shutdown."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, wanted: bool) -> None:
        self._force_exit = wanted
        self._wake()

    @functools.cached_property
    def limit_max_requests(self) -> int | None:
        """After how many requests the server stops, with the jitter added."""
        settings = self.config.settings()
        most = settings.limit_max_requests
        return None if not most else most + random.randint(0, settings.limit_max_requests_jitter)

    def _wake(self) -> None:
        if self._loop is not None:
            # The loop may have been closed in the meantime.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._changed.set()
        if self._should_exit and self._force_exit and self._serving is not None:
            self._serving.abandon()

    # ----------------------------------------------------------------------------------------------------------- serve

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on an event loop of its own. Raises SystemExit when the application does not start."""
        if not self.config.loaded:
            # Before the loop runs: the application's module may run a loop of its own while it is imported.
            self.config.load()
        endure.run(self.serve(sockets), self.config.get_loop_factory())

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the running event loop, on ``sockets`` (closed at the end) or else where the configuration says.

        In the main thread TERM and INT stop the server while it serves. At the end they are raised again, for the handlers from
        before.
        If this is cancelled, the server accepts no more, and what is in flight is finished on the loop as long as that runs;
        :meth:`shutdown` waits for it. Raises SystemExit when the application does not start.
        """
        with self.capture_signals():
            # Each time it is served an application lives once.
            self.lifespan = None
            try:
                await self.startup(sockets)
                await self.main_loop()
            except asyncio.CancelledError:
                self._begin_to_end()
                raise
            await self.shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application up and accept connections; nothing if that has been asked for already.

        Raises SystemExit when the application does not start, or an address can't be had.
        """
        if self._is_begun:
            await self._start_over.wait()
            return
        self._is_begun = True
        self._enter_loop()
        self._start_over = start_over = asyncio.Event()
        try:
            await self._start(sockets)
        except BaseException:
            self._leave()
            raise
        finally:
            start_over.set()

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # An event belongs to the loop on which it was first waited for.
            self._loop = loop
            self._changed = asyncio.Event()

    async def _start(self, sockets: list[socket.socket] | None) -> None:
        if not self.config.loaded:
            self.config.load()
        settings = replace(self.config.settings(), limit_max_requests=self.limit_max_requests, limit_max_requests_jitter=0)
        try:
            # With reload it is ``run`` that starts a supervisor; a server by itself serves without, as uvicorn's.
            options.check_supervisor(replace(settings, reload=False), "; tricorn.run has one if there are workers")
            listeners = adopt(sockets, settings.backlog) if sockets is not None else bind(settings)
        except ConfigError as error:
            logger.error("%s", error)
            sys.exit(error.exit_code)
        # Stalls are seen from outside.
        settings = replace(settings, report_stalls=0)
        self.servers = [Listening(listeners)]
        current = enter(CurrentWorker(0, os.getpid()))
        given = self.config.ssl if self.config.ssl_context_factory is not None else None
        certificates = Certificates(settings) if given is None else GivenContext(given)
        if self.lifespan is None:
            self.lifespan = self.config.lifespan_class(self.config)
        try:
            await self.lifespan.inner.startup()
        except AppError as error:
            logger.error("%s", error)
            self.lifespan.should_exit = True
            sys.exit(EXIT_STARTUP)
        serving = Serving(
            settings,
            self.config.loaded_app,
            listeners.sockets,
            lifespan=self.lifespan.inner,
            certificates=certificates,
            current=current,
            owner=self._program,
            place=OnlyPlace(),
            access=self._make_access(),
        )
        await self._warm_up(serving, settings)
        self._serving = serving
        await serving.start()
        self.started = True
        self.server_state.service = serving.service
        where = ", ".join(listeners.urls("https" if self.config.is_ssl else "http"))
        logger.info("Tricorn %s in process %d running on %s (press CTRL+C to quit)", __version__, os.getpid(), where)

    async def _warm_up(self, serving: Serving, settings: options.Config) -> None:
        try:
            await serving.warm_up(settings.timeout_worker_startup)
        except AppError as error:
            logger.error("%s", error)
            assert self.lifespan is not None
            self.lifespan.should_exit = True
            await self.lifespan.inner.shutdown_within(settings.timeout_graceful_shutdown)
            sys.exit(EXIT_STARTUP)

    def _make_access(self) -> Access | None:
        """The access log, if it is to be another than the options ask for."""
        return None

    async def main_loop(self) -> None:
        """Wait until the server is to stop, and meanwhile call the configuration's ``callback_notify``."""
        self._enter_loop()
        pause = None if self.config.callback_notify is None else self.config.timeout_notify
        if type(self).on_tick is not Server.on_tick:
            # A subclass may expect to be asked as often as uvicorn asks.
            pause = TICK
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def on_tick(self, counter: int) -> bool:
        """Called in turns by :meth:`main_loop`, every tenth of a second if a subclass has its own; whether to stop."""
        notify, now = self.config.callback_notify, time.time()
        # Half a tick too early is on time.
        if notify is not None and now - self.last_notified >= self.config.timeout_notify - TICK / 2:
            self.last_notified = now
            await notify()
        return self._should_exit

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, finish what is in flight, and shut the application down.

        May be called at any time and any number of times; each call returns when that is done, at once if nothing is served.
        """
        ending = self._begin_to_end()
        if ending is not None:
            # If the caller is cancelled, what is in flight is still finished.
            await asyncio.shield(ending)

    def _begin_to_end(self) -> asyncio.Task[None] | None:
        """The task that ends the server, made if there is none yet; None if nothing is served."""
        if not self._is_begun:
            return None
        if self._ending is None or self._ending.done():
            # So main_loop returns.
            self.should_exit = True
            self._ending = asyncio.get_running_loop().create_task(self._end(self._start_over), name="tricorn shutdown")
        return self._ending

    async def _end(self, start_over: asyncio.Event) -> None:
        await start_over.wait()
        if self._serving is None or start_over is not self._start_over:
            # It did not start. By now another start-up may have begun, which has an end of its own.
            return
        try:
            logger.info("Shutting down")
            self._program.tell_waits_at = time.monotonic() + 1
            if self._force_exit:
                self._serving.abandon()
            else:
                self._serving.drain(Phase.STOPPING)
            await self._serving.finish()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Leave nothing behind, also when the end was cancelled or the start failed."""
        if not self._is_begun:
            return
        self._is_begun = False
        if self._serving is not None:
            self._serving.release()
        if self.lifespan is not None:
            self.lifespan.inner.abandon()
        self._serving = self._ending = self.server_state.service = None
        for server in self.servers:
            server.close()

    # --------------------------------------------------------------------------------------------------------- signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Inside, signals stop the server. Afterwards those that came are raised again, for the handlers from before."""
        if threading.current_thread() is not threading.main_thread():
            # Python lets only that one have them.
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for captured in reversed(self._captured):
            signal.raise_signal(captured)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The handler of TERM and INT: the first one stops the server; INT when it is to stop, at once (as uvicorn's)."""
        self._captured.append(sig)
        if self._should_exit and sig == signal.SIGINT:
            self.force_exit = True
        else:
            self.should_exit = True


def adopt(sockets: Sequence[socket.socket], backlog: int) -> Listeners:
    """Sockets that the program has bound, as listeners."""
    for one in sockets:
        one.setblocking(False)
        set_nodelay(one)
        if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            one.listen(backlog)
    return Listeners(tuple(sockets))
