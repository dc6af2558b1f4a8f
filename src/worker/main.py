"""What a forked worker runs, from fork to exit code."""

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
import traceback
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..config import packages
from ..config.frozen import Value
from ..config.options import OPTIONS, Config, flag
from ..errors import EXIT_STARTUP, AppError, ConfigError
from ..ipc import channel
from ..ipc.handover import Ends, Handover, open_ends
from ..ipc.scoreboard import Scoreboard
from ..ipc.text import many_lines
from ..logging import set_process_name
from ..logs import setup as logs
from ..protocols.asgi import Application
from . import endure, late, tls
from . import hang_report as autopsy
from .interfaces import make_app
from .loader import locate
from .serving import Server, codec_of
from .setup import trusted_by

if TYPE_CHECKING:
    from .hooks import WorkerHooks

logger = logging.getLogger("tricorn.error")

AUTOPSY_SIGNAL = signal.SIGUSR2
"""Makes a worker write all its stacks to the descriptor ``Birth.autopsy``."""
PEEKED = 4096
"""Bytes of what a worker is told before it serves: a message or two."""
ORPHAN_LIMIT = 0.9
"""Seconds after which an orphan that has not finished is killed by its own alarm."""


class Birth(Value):
    """All a worker gets from the supervisor that forked it."""

    id: int
    """Never used again."""
    slot: int
    """0..N-1, kept across restarts."""
    generation: int
    """The reload it was born in, from 0."""
    channel: socket.socket
    """The worker's end of the socketpair (see channel.py)."""
    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    row: int
    """Its row's index in the scoreboard."""
    autopsy: int
    """Descriptor of the file to which all stacks are written when the supervisor sends AUTOPSY_SIGNAL."""
    handover: Ends | None = None
    """With --reload: where this worker puts its idle connections when it leaves, and where it takes those of the one before."""


def main(config: Config, birth: Birth) -> int:
    """Serve until told to stop; returns the process's exit code."""
    _prepare_signals(birth)
    name_process(f"tricorn: worker {birth.slot}")
    try:
        _serve(config, birth)
    except (AppError, ConfigError) as error:
        _say_failed(birth, str(error))
        return EXIT_STARTUP
    except SystemExit as error:
        traceback.print_exc()
        return error.code if isinstance(error.code, int) else 1
    finally:
        _run_exit_functions()
    return 0


def open_handover() -> Ends:
    """The queue through which workers hand on their connections, for :class:`Birth`."""
    return open_ends()


def _serve(config: Config, birth: Birth) -> None:
    if config.reload and "PYTHONBREAKPOINT" not in os.environ and sys.breakpointhook is sys.__breakpointhook__:
        sys.breakpointhook = _break_here
    try:
        hooks = _begin_hooks(config, birth) if config.hooks is not None else None
        server = _make_server(config, make_app(config), birth)
        server.hooks = hooks
        _run(server, config)
    except AppError as error:
        if not config.reload:
            raise
        from .error_page import ErrorPage

        page = ErrorPage(error)
        server = _make_server(config, page, birth)
        server.error_page = page
        _run(server, config)


def _begin_hooks(config: Config, birth: Birth) -> WorkerHooks:
    # Late, for most do without.
    from ..hooks import Worker
    from .hooks import WorkerHooks

    hooks = WorkerHooks(config, Worker(birth.slot, os.getpid(), birth.generation))
    hooks.start()
    return hooks


def _break_here(*args: Any, **kwargs: Any) -> None:
    """With ``--reload``: what ``breakpoint()`` does, unless the developer has chosen a debugger (PEP 553)."""
    # Late, for pdb takes longer to import than a worker to start.
    from .debugging import Debugger

    Debugger().set_trace(sys._getframe(1))


def _make_server(config: Config, app: Application, birth: Birth) -> Server:
    server = Server(config, app, birth.channel, birth.listeners, birth.scoreboard, birth.row, birth.slot, birth.generation)
    server.handover = Handover(birth.handover) if birth.handover is not None else None
    return server


def _run(server: Server, config: Config) -> None:
    autopsy.subject = server
    endure.run(server.serve(), loop_factory(config.loop, config.app_dir))


def name_process(title: str) -> None:
    """Show ``title`` in log files and, where the extra setproctitle is installed, in ps and top."""
    set_process_name(title.removeprefix("tricorn: "))
    if is_usable("setproctitle"):
        importlib.import_module("setproctitle").setproctitle(title)


@cache
def is_usable(package: str) -> bool:
    """Whether the ``package``, which we can do without, can be imported; one that is installed and can't be is logged once."""
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
    """What the workers run on, for people: event loop and parser."""
    parser = "fast lane and h11" if config.http == "auto" else config.http
    return f"{loop_name(config.loop)}, HTTP by {parser}"


def loop_factory(choice: str, app_dir: str = "") -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop of ``--loop choice``.

    Raises AppError for a function that can't be imported, ConfigError if uvloop can't be.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    if ":" in choice:
        factory = locate(choice, app_dir, "--loop")
    elif loop_name(choice) == "uvloop":
        packages.require("--loop uvloop", "uvloop")
        import uvloop

        factory = uvloop.new_event_loop
    return factory


def late_modules(config: Config) -> list[str]:
    """What requests may need and the first answer does not; for :func:`import_next`."""
    return late.names(config)


def import_next(names: list[str]) -> None:
    """Import the first of ``names``, and take it off."""
    late.import_next(names)


def reopen_logs() -> dict[str, int]:
    """Open log files again, in the supervisor: they may have been moved away. Returns their descriptors for the workers."""
    return logs.reopen()


def preload(config: Config) -> None:
    """Do in the supervisor, once for all workers, what each needs beside the application: imports, and the certificate.

    Raises ConfigError for what no worker could start with.
    """
    for name, known in OPTIONS.items():
        if known.needs_package and (package := known.needs_package.get(value := getattr(config, name))) is not None:
            packages.require(f"{flag(name)} {value}", package)
    if config.limit_max_rss is not None:
        packages.require(f"--limit-max-rss {config.limit_max_rss}", "psutil")
    if ":" not in config.loop:
        # A function of the application's side is imported by workers only.
        loop_factory(config.loop)
    codec_of(config.http)
    tls.preload(config)
    trusted_by(config)


def _prepare_signals(birth: Birth) -> None:
    # What reaches the whole process group (Ctrl-C, a hang-up) already does nothing here: the supervisor alone decides.
    signal.signal(signal.SIGQUIT, lambda number, frame: os._exit(0))
    # Python's handler runs when the interpreter still does and adds the tasks; faulthandler's writes the stacks even while
    # the GIL is held, then calls it (chain).
    signal.signal(AUTOPSY_SIGNAL, lambda number, frame: autopsy.write(birth.autopsy))
    faulthandler.register(AUTOPSY_SIGNAL, file=birth.autopsy, all_threads=True, chain=True)
    watch_lifeline(birth.channel, lambda: _leave_if_called_off(birth))
    os.register_at_fork(after_in_child=lambda: _release_child(birth))


def _release_child(birth: Birth) -> None:
    """Let a process that the application forks be a process like any other: ours are the signals, the port and the channel.

    Left as they are, its signals would be written to the worker's event loop (signal.set_wakeup_fd), it could not be ended by
    SIGTERM, and while it lives it would hold the port.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGIO, channel.DRAIN_SIGNAL):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.unregister(AUTOPSY_SIGNAL)
    signal.signal(AUTOPSY_SIGNAL, signal.SIG_DFL)
    for shared in (birth.channel, *birth.listeners):
        shared.close()
    name_process(f"tricorn: process of the application (worker {birth.slot})")


def _leave_if_called_off(birth: Birth) -> None:
    """Exit if we are to drain and do not serve yet: who imports an application reads no orders, and nobody is to wait for that.

    Runs between any two byte codes of the main thread. Once there is a service, the event loop carries the order out.
    """
    if getattr(autopsy.subject, "service", None) is not None:
        return
    with contextlib.suppress(OSError):
        if channel.DRAIN_BEGINS in birth.channel.recv(PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            os._exit(0)


def watch_lifeline(link: socket.socket, hear: Callable[[], None] = lambda: None) -> None:
    """Notice the supervisor's death even while the event loop does not turn: during the import, or in a hung handler.

    The kernel sends SIGIO when the socket becomes readable or is closed (fcntl(2), O_ASYNC). ``hear`` is called then, too.
    """

    def look(number: int, frame: FrameType | None) -> None:
        hear()
        if _is_cut(link):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, ORPHAN_LIMIT)

    signal.signal(signal.SIGIO, look)
    # A signal in the middle of a system call of the application's must not fail it (sigaction(2), SA_RESTART).
    signal.siginterrupt(signal.SIGIO, False)
    fcntl.fcntl(link.fileno(), fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(link.fileno(), fcntl.F_SETFL, fcntl.fcntl(link.fileno(), fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    # It may have died before we began to watch.
    look(signal.SIGIO, None)


def _is_cut(link: socket.socket) -> bool:
    """Whether the other end is closed, also when there is something left to read that nobody reads."""
    try:
        poll = select.poll()
        # Nothing is asked for; that it hung up is told all the same (poll(2)).
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
    """What a process does at its end and ``os._exit`` does not: the application may have registered functions."""
    # Threads that are no daemons are waited for, as at any exit of Python; the deadline of the drain is their limit.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
