"""The life of one worker process on its event loop, under its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Protocol

from ..config.options import Config
from ..errors import AppError
from ..ipc import channel
from ..ipc.handover import Ends
from ..ipc.text import many_lines
from ..ipc.waits import Waits
from ..protocols.asgi import Application
from ..protocols.context import Phase
from . import hang_report
from .current import CurrentWorker
from .lifespan import Lifespan
from .link import SupervisorLink
from .owner import Place
from .serving import Serving
from .tls import Certificates

TELL_MODULES = 0.1
"""Seconds from ready until the supervisor is told what was imported: workers that wait for the new code come first."""
WARM_MARGIN = 0.5
"""Seconds before the end of the start-up time at which ``--warm-path`` gives up, so that the worker can say why."""
LAST_WORDS = 1.0
"""Seconds that an application which failed at ``--warm-path`` gets for its shutdown: the supervisor waits for the reason."""
ORPHAN_GRACE = 0.7
"""Seconds that requests get to finish when the supervisor has died: the port must be free within a second."""


class Failure(Protocol):
    """With ``--reload``: an application that shows why the real one does not start (see error_page.py).

    Like the two classes below, it is named here by what it does, because only few workers import it.
    """

    text: str
    files: list[str]


class Hooks(Protocol):
    """What ``--hooks`` adds to a worker's life (see hooks.py)."""

    def ready(self) -> None:
        """Connections are accepted."""

    async def stop(self) -> None:
        """The application was shut down."""


class Report(Protocol):
    """With ``--reload``: tells what was imported (see modules.py)."""

    def news(self, files: Iterable[str]) -> Iterable[bytes]:
        """Messages that name what was imported since the last call, and ``files``."""


class WorkerProcess:
    """Starts the application up, serves it, and ends as the supervisor orders. It is the owner of its :class:`Serving`."""

    def __init__(
        self,
        config: Config,
        app: Application,
        end: socket.socket,
        listeners: Sequence[socket.socket],
        *,
        current: CurrentWorker,
        place: Place,
        began: float,
        hang_report: int,
        handover: Ends | None = None,
        hooks: Hooks | None = None,
        report: Report | None = None,
        failure: Failure | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        """``end`` is the worker's end of the channel to the supervisor. ``began``: when the worker was born, as of
        ``time.monotonic``. ``failure`` is ``app``, if that only shows why the real application does not start.
        ``hang_report`` is the descriptor of the file for reports.

        Must be made on the running event loop.
        """
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._app = app
        self._listeners = listeners
        self._current = current
        self._place = place
        self._began = began
        self._hang_report = hang_report
        self._handover = handover
        self._hooks = hooks
        self._report = report
        self._failure = failure
        self._release = release
        self._link = SupervisorLink(end, self._obey, self._lose_supervisor)
        self._lifespan = Lifespan(app, config.lifespan)
        self._certificates = Certificates(config)
        self._serving: Serving | None = None
        """Once the application has started up."""
        self._is_leaving = False
        """A drain was ordered."""
        self._has_asked = False
        """The supervisor was asked to replace this worker."""

    async def live(self) -> None:
        """Serve until a drain is ordered and done. Raises AppError when the application does not start."""
        handlers = {channel.DRAIN_SIGNAL: self._drain_by_signal, signal.SIGTERM: self.handle_exit}
        for number, handler in handlers.items():
            signal.signal(number, handler)
            # The signal must not make a system call of the application fail (sigaction(2), SA_RESTART).
            signal.siginterrupt(number, False)
        self._link.open()
        await self._lifespan.startup()
        serving = self._make_serving()
        if self._failure is None and self._config.warm_path:
            await self._warm_up(serving)
        if self._is_leaving:
            await self._lifespan.shutdown()
        else:
            await self._serve(serving)
        if self._hooks is not None:
            await self._hooks.stop()
        self._link.close()

    def _make_serving(self) -> Serving:
        return Serving(
            self._config,
            self._app,
            self._listeners,
            lifespan=self._lifespan,
            certificates=self._certificates,
            current=self._current,
            owner=self,
            place=self._place,
            handover=self._handover,
        )

    async def _warm_up(self, serving: Serving) -> None:
        seconds = self._began + self._config.timeout_worker_startup - WARM_MARGIN - time.monotonic()
        try:
            await serving.warm_up(seconds)
        except AppError:
            # It did start up, so it is shut down, as long as that is quick.
            await self._lifespan.shutdown_within(LAST_WORDS)
            raise

    async def _serve(self, serving: Serving) -> None:
        self._serving = serving
        hang_report.watch(serving.service)
        await serving.start()
        self._link.say(channel.READY, **({"error": many_lines(self._failure.text)} if self._failure is not None else {}))
        if self._report is not None:
            self._loop.call_later(TELL_MODULES, self._tell_modules)
        # The objects made so far stay. Frozen, the garbage collector does not look at them again, nor unshare their pages.
        gc.freeze()
        if self._hooks is not None:
            self._hooks.ready()
        await serving.finish()

    @property
    def should_exit(self) -> bool:
        """Whether the worker leaves, for a stop, a reload or a recycling.

        Libraries with endless responses look for this name on the object whose method handles SIGTERM, and end their responses.
        """
        # With --drain-over event streams end one by one. Later, those that are left end by themselves.
        return self._is_leaving and (self._serving is None or not self._serving.is_parting)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM: a method, so that libraries find :attr:`should_exit` behind it."""
        # After the loop's end the worker is leaving already.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._terminate)

    def _drain_by_signal(self, number: int, frame: FrameType | None) -> None:
        """The supervisor's order to drain, which was lost on its way through the channel."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._drain, Phase.STOPPING)

    # The owner's part: what the supervisor is told.

    def beat(self) -> None:
        """With ``--reload``, tell what was imported since the last time, for example in a handler."""
        if self._report is not None:
            self._tell_modules()

    def retire(self, reason: str) -> bool:
        """Ask to be replaced, once; returns whether the supervisor could be asked."""
        if self._has_asked:
            return True
        self._has_asked = True
        return self._link.say(channel.RETIRE, reason=reason)

    def waiting(self, waits: Waits) -> None:
        """Say what the drain waits for."""
        self._link.say(channel.WAITING, **vars(waits))

    def delivering(self) -> None:
        """Say that nothing but complete responses is left."""
        self._link.say(channel.DELIVERING)

    def active(self) -> None:
        """Have stalls looked for."""
        self._link.say(channel.ACTIVE)

    def stalled(self, seconds: float) -> None:
        """Say how long a stall was."""
        self._link.say(channel.STALLED, seconds=seconds)

    def _tell_modules(self) -> None:
        assert self._report is not None
        for message in self._report.news(self._failure.files if self._failure is not None else ()):
            if not self._link.send(message):
                return

    # What is ordered.

    def _obey(self, message: channel.Message) -> None:
        if message["kind"] == channel.DRAIN:
            self._drain(Phase.DRAINING if message.get("patient") else Phase.STOPPING, hand_off=bool(message.get("hand_off")))
        elif message["kind"] == channel.UNREADY:
            self._current.is_ready = False
        elif message["kind"] == channel.REPORT:
            hang_report.answer(self._hang_report, message["stacks"])
            self._link.say(channel.REPORTED)

    def _terminate(self) -> None:
        """SIGTERM came. Often it is sent to the whole process group: the supervisor gets it too, and it alone decides."""
        if not self.retire("it got SIGTERM"):
            self._drain(Phase.STOPPING)

    def _lose_supervisor(self, is_gone: bool) -> None:
        self._drain(Phase.STOPPING, grace=ORPHAN_GRACE if is_gone else None)

    def _drain(self, phase: Phase, *, grace: float | None = None, hand_off: bool = False) -> None:
        self._is_leaving = True
        self._current.begin_draining()
        if self._serving is not None:
            self._serving.drain(phase, grace=grace, hand_off=hand_off)
            # At once, because an operator may wait for it: the answer to the order says that no more connections are accepted.
            self._serving.tell_waits()
        if self._release is not None:
            self._release()
