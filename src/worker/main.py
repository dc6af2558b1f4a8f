"""What a worker runs, from fork to exit code; and what the supervisor prepares for all workers before it forks."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import faulthandler
import fcntl
import importlib
import importlib.util
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import cache
from types import FrameType
from typing import Any

from ..config import packages
from ..config.frozen import Value
from ..config.options import OPTIONS, Config, flag
from ..errors import EXIT_STARTUP, AppError, ConfigError
from ..ipc import channel
from ..ipc.handover import Ends
from ..ipc.scoreboard import Scoreboard
from ..ipc.text import many_lines
from ..logging import set_process_name
from ..protocols.asgi import Application
from . import endure, hang_report, stalls, tls
from .assembly import codec_of
from .current import CurrentWorker, enter
from .interfaces import make_app
from .kept import KeptModules
from .loader import locate
from .owner import FleetPlace
from .process import Failure, Hooks, Report, WorkerProcess
from .setup import trusted_by
from .stalls import SAMPLE_SIGNAL as SAMPLE_SIGNAL
from .stalls import STACK_SIGNAL as STACK_SIGNAL
from .stalls import read_samples as read_samples

logger = logging.getLogger("tricorn.error")

HANG_REPORT_SIGNAL = signal.SIGUSR2
"""Makes a worker write all its stacks to the descriptor ``Birth.hang_report``."""
PEEKED = 4096
"""Bytes to look at of what the supervisor says before the worker serves: one or two messages."""
ORPHAN_LIMIT = 0.9
"""Seconds after which an orphan that has not finished is killed by its own alarm."""


class Birth(Value):
    """All that a worker gets from the supervisor that forked it."""

    id: int
    """The worker's number, never used again."""
    slot: int
    """0..N-1; the worker that replaces this one gets the same."""
    generation: int
    """The number of reloads before this worker was started."""
    channel: socket.socket
    """The worker's end of the socketpair (see channel.py)."""
    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    row: int
    """The index of the worker's row in the scoreboard."""
    hang_report: int
    """Descriptor of the file to which the worker writes all stacks when the supervisor sends HANG_REPORT_SIGNAL."""
    stalls: int = -1
    """Descriptor of the file to which the worker writes a sample when the supervisor sends SAMPLE_SIGNAL; -1 for none."""
    handover: Ends | None = None
    """With --reload: the queue through which a worker that leaves hands its idle connections on to the next one."""
    modules: KeptModules | None = None
    """What requests may need later; None to leave that on the disk."""


def main(config: Config, birth: Birth) -> int:
    """Serve until ordered to stop; returns the process's exit code."""
    began = time.monotonic()
    _prepare_signals(birth)
    name_process(f"tricorn: worker {birth.slot}")
    if birth.modules is not None:
        birth.modules.use()
    try:
        _serve(config, birth, began)
    except (AppError, ConfigError) as error:
        _say_failed(birth, str(error))
        return EXIT_STARTUP
    except SystemExit as error:
        traceback.print_exc()
        return error.code if isinstance(error.code, int) else 1
    finally:
        _run_exit_functions()
    return 0


def _serve(config: Config, birth: Birth, began: float) -> None:
    if config.reload and "PYTHONBREAKPOINT" not in os.environ and sys.breakpointhook is sys.__breakpointhook__:
        sys.breakpointhook = _break_here
    try:
        hooks = _begin_hooks(config, birth) if config.hooks is not None else None
        app = make_app(config)
        release = None
        if config.reload:
            # Late, because only --reload needs it.
            from .development import develop

            app, release = develop(app, config, birth.listeners if birth.generation == birth.slot == 0 else ())
        _run(config, _live(config, birth, began, app, hooks=hooks, release=release))
    except AppError as error:
        if not config.reload:
            raise
        from .error_page import ErrorPage

        page = ErrorPage(error)
        _run(config, _live(config, birth, began, page, failure=page, release=page.waiting.release))


def _begin_hooks(config: Config, birth: Birth) -> Hooks:
    # Late, because most operators have none.
    from ..hooks import Worker
    from .hooks import WorkerHooks

    hooks = WorkerHooks(config, Worker(birth.slot, os.getpid(), birth.generation))
    hooks.start()
    return hooks


def _break_here(*args: Any, **kwargs: Any) -> None:
    """With ``--reload``: what ``breakpoint()`` does, unless the developer has chosen a debugger (PEP 553)."""
    # Late, because pdb takes longer to import than a worker to start.
    from .debugging import Debugger

    Debugger().set_trace(sys._getframe(1))


async def _live(
    config: Config,
    birth: Birth,
    began: float,
    app: Application,
    *,
    hooks: Hooks | None = None,
    failure: Failure | None = None,
    release: Callable[[], None] | None = None,
) -> None:
    await WorkerProcess(
        config,
        app,
        birth.channel,
        birth.listeners,
        current=enter(CurrentWorker(birth.slot, os.getpid(), birth.generation)),
        place=FleetPlace(birth.scoreboard, birth.row, birth.hang_report),
        began=began,
        hang_report=birth.hang_report,
        handover=birth.handover,
        hooks=hooks,
        report=_make_report() if config.reload else None,
        failure=failure,
        release=release,
    ).live()


def _make_report() -> Report:
    # Late, because only --reload needs it.
    from .modules import ImportReport

    return ImportReport()


def _run(config: Config, life: Coroutine[Any, Any, None]) -> None:
    endure.run(life, loop_factory(config.loop, config.app_dir))


def name_process(title: str) -> None:
    """Show ``title`` in log files and, if the package setproctitle is installed, in ps and top."""
    set_process_name(title.removeprefix("tricorn: "))
    if is_usable("setproctitle"):
        importlib.import_module("setproctitle").setproctitle(title)


@cache
def is_usable(package: str) -> bool:
    """Whether the optional ``package`` can be imported. If it is installed but can't be imported, that is logged once."""
    if importlib.util.find_spec(package) is None:
        return False
    if (cause := packages.problem(package)) is not None:
        logger.warning("Going on without %s, which is installed, but can't be imported (%s)", package, cause)
    return cause is None


def loop_name(choice: str) -> str:
    """The event loop that ``--loop choice`` means here: ``uvloop`` or ``asyncio``."""
    if choice == "auto":
        return "uvloop" if is_usable("uvloop") else "asyncio"
    return choice


def describe(config: Config) -> str:
    """Event loop and parser of the workers, for the log."""
    parser = "fast lane and h11" if config.http == "auto" else config.http
    return f"{loop_name(config.loop)}, HTTP by {parser}"


def loop_factory(choice: str, app_dir: str = "") -> Callable[[], asyncio.AbstractEventLoop]:
    """The function that makes the event loop of ``--loop choice``.

    Raises AppError if the application's own function can't be imported, ConfigError if uvloop can't be.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    if ":" in choice:
        factory = locate(choice, app_dir, "--loop")
    elif loop_name(choice) == "uvloop":
        packages.require("--loop uvloop", "uvloop")
        import uvloop

        factory = uvloop.new_event_loop
    return factory


def preload(config: Config) -> None:
    """In the supervisor: do once what all workers need beside the application, such as imports and loading the certificate.

    Raises ConfigError for a mistake that lets no worker start.
    """
    for name, known in OPTIONS.items():
        if known.needs_package and (package := known.needs_package.get(value := getattr(config, name))) is not None:
            packages.require(f"{flag(name)} {value}", package)
    if config.preload != "off" and not config.reload and sys.platform != "linux":
        raise ConfigError(f"--preload {config.preload}: works on Linux only")
    if config.limit_max_rss is not None:
        packages.require(f"--limit-max-rss {config.limit_max_rss}", "psutil")
    if ":" not in config.loop:
        # Only workers import a function of the application's.
        loop_factory(config.loop)
    codec_of(config.http)
    tls.preload(config)
    trusted_by(config)


def _prepare_signals(birth: Birth) -> None:
    # Signals to the whole process group (Ctrl-C, a hang-up) are ignored here already: the supervisor alone decides.
    signal.signal(signal.SIGQUIT, lambda number, frame: os._exit(0))
    # faulthandler writes the stacks, even while some code holds the GIL. Then it calls Python's handler (chain), which adds the
    # tasks if the interpreter still runs.
    signal.signal(HANG_REPORT_SIGNAL, lambda number, frame: hang_report.write(birth.hang_report))
    faulthandler.register(HANG_REPORT_SIGNAL, file=birth.hang_report, all_threads=True, chain=True)
    stalls.prepare(birth.stalls)
    if not faulthandler.is_enabled():
        # A crash of C code (SIGSEGV, SIGABRT, ...) leaves the stacks for the supervisor, which logs them.
        faulthandler.enable(file=birth.hang_report, all_threads=True)
    watch_lifeline(birth.channel, lambda: _leave_if_called_off(birth))
    os.register_at_fork(after_in_child=lambda: _release_child(birth))


def _release_child(birth: Birth) -> None:
    """In a process that the application has forked: give up the worker's signals, ports and channel.

    Without this, its signals would wake the worker's event loop (signal.set_wakeup_fd), SIGTERM would not end it, and it would
    hold the port as long as it lives.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGIO, channel.DRAIN_SIGNAL):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.unregister(HANG_REPORT_SIGNAL)
    # What this process has to say of a crash is not the worker's.
    faulthandler.disable()
    signal.signal(HANG_REPORT_SIGNAL, signal.SIG_DFL)
    stalls.give_up()
    for shared in (birth.channel, *birth.listeners):
        shared.close()
    name_process(f"tricorn: process of the application (worker {birth.slot})")


def _leave_if_called_off(birth: Birth) -> None:
    """Exit if a drain is ordered before the worker serves: while it imports the application, it reads no orders.

    Runs between any two byte codes of the main thread. Once the worker serves, its event loop carries the order out.
    """
    if hang_report.is_watching():
        return
    with contextlib.suppress(OSError):
        if channel.DRAIN_BEGINS in birth.channel.recv(PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            os._exit(0)


def watch_lifeline(link: socket.socket, hear: Callable[[], None] = lambda: None) -> None:
    """Notice the supervisor's death even while the event loop does not turn: during the import, or in a hung handler.

    The kernel sends SIGIO when the socket becomes readable or is closed (fcntl(2), O_ASYNC). Then ``hear`` is called too.
    """

    def look(number: int, frame: FrameType | None) -> None:
        hear()
        if is_cut(link):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, ORPHAN_LIMIT)

    signal.signal(signal.SIGIO, look)
    # The signal must not make a system call of the application fail (sigaction(2), SA_RESTART).
    signal.siginterrupt(signal.SIGIO, False)
    fcntl.fcntl(link.fileno(), fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(link.fileno(), fcntl.F_SETFL, fcntl.fcntl(link.fileno(), fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    # The supervisor may have died before this worker began to watch.
    look(signal.SIGIO, None)


def is_cut(link: socket.socket) -> bool:
    """Whether the other end is closed, even if unread messages are left."""
    try:
        poll = select.poll()
        # Without any event asked for, poll still tells of a hang-up (poll(2)).
        poll.register(link, 0)
        return bool(poll.poll(0)) or link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except (OSError, ValueError):
        return True


def _say_failed(birth: Birth, error: str) -> None:
    try:
        birth.channel.setblocking(True)
        birth.channel.sendall(channel.encode(channel.FAILED, error=many_lines(error)))
    except OSError:
        print(error, file=sys.stderr)


def _run_exit_functions() -> None:
    """Do what Python does at exit and ``os._exit`` does not: the application may have registered functions."""
    # Wait for threads that are no daemons, as Python does at exit. The deadline of the drain limits that.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
