"""``tricorn.run`` with workers or ``reload``: the supervisor is a process of its own, in a new Python interpreter.

The program has usually imported the application. A supervisor in its process would pass that code, its threads and its open
sockets on to every worker, and a reload could not load newer code. So the program starts an interpreter as
``multiprocessing``'s *spawn* does: with the same options, import path and arguments, but the interpreter does not run the
script. Then the program waits, and passes signals on. It holds one end of a socket pair, so the supervisor notices when the
program dies. The supervisor writes its exit code to that socket when it ends, because a program may ignore SIGCHLD, or reap all
children elsewhere.

The new interpreter can't load a pickle before its import path is right. So ``marshal``, which is built in, carries the import
path, and the keywords as a pickle.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import marshal
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from types import FrameType, FunctionType
from typing import Any, NoReturn

from ..config.directory import WorkingDirectory, current
from ..config.directory import check as check_directories
from ..config.env_file import EnvironmentFile
from ..config.options import Config as Settings
from ..errors import EXIT_FAILED, ConfigError
from ..supervisor import early
from ..supervisor.listeners import inherited_from_systemd
from ..supervisor.run import run as supervise
from ..supervisor.upgrade.command import Command, Surroundings
from ..supervisor.wakeup import ORDERS
from .config import Config

logger = logging.getLogger("tricorn.error")

NUMBERS = (*ORDERS,)
"""Signals that a supervisor handles."""
BEGIN = (
    # ``os`` is imported before the import path is used; ``marshal`` and ``sys`` are built in. So no file in the current
    # directory can replace them.
    "import marshal, os, sys; given = marshal.load(os.fdopen(int(sys.argv[1]), 'rb')); sys.path[:] = given['path'];"
    f"from {__name__} import begin; begin(given)"
)


def launch(config: Config, bind: Sequence[str] = ()) -> int:
    """Serve ``config`` with a supervisor; returns its exit code. ``config.app`` is MODULE:ATTRIBUTE. Raises ConfigError.

    ``bind`` are addresses as for ``--bind``, which replace those of the configuration.
    """
    bind = tuple(bind or (f"fd://{fd}" for fd in _given_by_systemd(config)))
    settings = config.supervised(bind)
    check_directories(settings)
    command = _interpreter()
    # A mistake is reported here, before anything is started.
    keywords = dump(config)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reading, writing = os.pipe()
        given = {
            "path": _import_path(),
            "argv": sys.argv,
            "in_uvicorns_place": getattr(sys.modules.get("uvicorn"), "Config", None) is Config,
            "keywords": keywords,
            "bind": bind,
            "parent": theirs.fileno(),
        }
        with open(reading, "rb") as read, open(writing, "wb") as write, passed_on() as target:
            process = subprocess.Popen(
                [*command, "-c", BEGIN, str(reading)],
                env=config.environment(),
                pass_fds=(reading, theirs.fileno(), *_descriptors(settings)),
            )
            theirs.close()
            target.started(process)
            read.close()
            for descriptor in _descriptors(settings):
                # A listener that stays open here would keep the port.
                os.close(descriptor)
            try:
                # If the supervisor dies at once, its exit code says more than a broken pipe.
                with contextlib.suppress(BrokenPipeError), write:
                    write.write(marshal.dumps(given))
                told = _read_to_the_end(ours)
            except BaseException:
                # A signal handler of the program raised it.
                ours.close()
                process.wait()
                raise
    return _exit_code(process, told)


def _read_to_the_end(ours: socket.socket) -> bytes:
    """What the supervisor says; it is gone then."""
    said = b""
    # A connection is reset if the supervisor has left something unread.
    with contextlib.suppress(ConnectionResetError):
        while data := ours.recv(1):
            said += data
    return said


def _exit_code(process: subprocess.Popen[bytes], told: bytes) -> int:
    """The exit code that the supervisor ``told``. If it told none, it was killed, or ended before it was a supervisor."""
    # 0 if other code has reaped it.
    status = process.wait()
    if told:
        return told[-1]
    if status <= 0:
        how = f" by {signal.Signals(-status).name}" if status else ""
        logger.error("The supervisor [%d] was killed%s", process.pid, how)
        return EXIT_FAILED
    return status


def _interpreter() -> list[str]:
    """The command that starts a Python with the options of this one. Raises ConfigError if there is no interpreter."""
    if getattr(sys, "frozen", False) or not sys.executable:
        raise ConfigError("--workers and --reload: need a Python interpreter to start, which a frozen program does not have")
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [sys.executable, *flags]


def _import_path() -> list[str]:
    """``sys.path`` and, last, the current directory, where applications are searched too."""
    return [*(_as_named(entry) for entry in sys.path if isinstance(entry, str)), current()]


def _as_named(entry: str) -> str:
    """The operator's name for an entry of ``sys.path``: a deploy may switch a link in that name to a new release.

    Python puts the script's directory there without symbolic links, and the kernel knows the current one without them. The
    operator knows them by ``$PWD``, or by the path to the script.
    """
    for base in (current(), _directory_of_script()):
        if base and os.path.isabs(entry):
            named = os.path.normpath(os.path.join(base, os.path.relpath(entry, os.path.realpath(base))))
            if named != entry and os.path.realpath(named) == entry:
                return named
    return entry


def _descriptors(settings: Settings) -> list[int]:
    """The descriptors of listeners that the settings name."""
    named = [int(address.removeprefix("fd://")) for address in settings.bind if address.startswith("fd://")]
    return named if settings.fd is None else [*named, settings.fd]


def _given_by_systemd(config: Config) -> list[int]:
    """Listeners from systemd: its variables name this process, so the supervisor could not use them."""
    elsewhere = config.fd is not None or config.uds is not None or config.options.get("bind")
    return [] if elsewhere else inherited_from_systemd(os.environ)


# ----------------------------------------------------------------------------------------------------------------- signals


class Target:
    """Passes the signals of this process on to the supervisor."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        """The process, where the system has such descriptors. Other code may reap it, and then another process may get its
        pid."""
        self._early: list[int] = []
        """Those that came before there was a process, in another thread of the program's, where they are not blocked."""
        self._before: dict[int, Any] = {}

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler in the program."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
        elif self._process is not None:
            # Does nothing if it has ended.
            self._process.send_signal(number)
        else:
            self._early.append(number)

    def started(self, process: subprocess.Popen[bytes]) -> None:
        """Pass signals on to ``process`` from now on, first those that came before."""
        """Pass signals on to ``process``, those included that came before."""
        self._process = process
        if hasattr(os, "pidfd_open"):
            # An old kernel, a sandbox; or it has ended, and was reaped.
            with contextlib.suppress(OSError):
                self._pidfd = os.pidfd_open(process.pid)
        # The new process has inherited which signals are ignored (``nohup``); it decides on the signals that it gets.
        self.take(NUMBERS)
        for number in self._early:
            self.handle(number, None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)

    def take(self, numbers: Iterable[int]) -> None:
        """Handle these signals from now on."""
        for number in numbers:
            if number not in self._before:
                self._before[number] = signal.signal(number, self.handle)

    def give_back(self) -> None:
        """Restore the handlers that the program had."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if self._pidfd is not None:
            os.close(self._pidfd)


class NoTarget(Target):
    """A target outside the main thread: Python handles signals in the main thread only."""

    def take(self, numbers: Iterable[int]) -> None:
        """Do nothing."""


@contextlib.contextmanager
def passed_on() -> Iterator[Target]:
    """Inside this context, signals that a supervisor handles are passed on to it.

    A terminal sends Ctrl-C to both processes, so the supervisor gets it twice. It takes two at the same time as one.
    """
    target = Target() if threading.current_thread() is threading.main_thread() else NoTarget()
    # Until there is a supervisor. It inherits that, so no signal meets it before it listens, and unblocks them (early.py).
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    target.take(number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN)
    try:
        yield target
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        target.give_back()


# ---------------------------------------------------------------------------------------------------------------- keywords


class Pickler(pickle.Pickler):
    """Refuses classes and functions of the script, because the supervisor does not run the script."""

    def reducer_override(self, obj: Any) -> Any:
        """As :class:`pickle.Pickler` has it. Raises ConfigError for what the script defines."""
        if isinstance(obj, type | FunctionType) and obj.__module__ == "__main__":
            raise ConfigError(
                f"{obj.__qualname__} is defined in the script; workers can have it from a module that they import"
            )
        return NotImplemented


def dump(config: Config) -> bytes:
    """The keywords of ``config``, pickled for another process. Raises ConfigError for values that can't be pickled."""
    for name in ("callback_notify", "ssl_context_factory"):
        if getattr(config, name) is not None:
            raise ConfigError(f"{name}: works in the program's own process only, without workers and reload")
    keywords = {field.name: getattr(config, field.name) for field in fields(Config)}
    keywords["app"] = _named_by_workers(config.app)
    keywords["options"] = {"app_dir": _home_of_script(), **config.options}
    pickled = io.BytesIO()
    for name, value in keywords.items():
        try:
            Pickler(pickled).dump((name, value))
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ConfigError(f"{name}: can't be given to another process: {error}") from None
    return pickled.getvalue()


def load(pickled: bytes) -> dict[str, Any]:
    """The keywords that :func:`dump` pickled."""
    stream = io.BytesIO(pickled)
    found: dict[str, Any] = {}
    while stream.tell() < len(pickled):
        name, value = pickle.load(stream)
        found[name] = value
    return found


def _named_by_workers(app: str) -> str:
    """The application's name in a process where the script is not ``__main__``. Raises ConfigError if it has none."""
    module, colon, attribute = app.partition(":")
    if module != "__main__":
        return app
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", "")
    name = spec.name if spec is not None else os.path.splitext(os.path.basename(file))[0]
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        found = importlib.util.find_spec(name)
        if found is not None and (spec is not None or os.path.samefile(found.origin or "", file)):
            return f"{name}{colon}{attribute}"
    raise ConfigError(f"APP {app}: can't be imported by workers; put it into a module")


def _home_of_script() -> str:
    """The script's directory if Python has put it on the import path; else none, and the current directory comes first."""
    home = _directory_of_script()
    real = os.path.realpath(home) if home else ""
    return _as_named(real) if real in sys.path else home if home in sys.path else ""


def _directory_of_script() -> str:
    """By the name that the script was started by; empty if there is no script."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return os.path.dirname(os.path.abspath(file)) if file is not None else ""


# ----------------------------------------------------------------------------------------------------- in the fresh Python


class Program:
    """The source of the configuration: the program's keywords, and the files that they name."""

    def __init__(self, keywords: dict[str, Any], bind: tuple[str, ...]) -> None:
        """Raises ConfigError."""
        home = current()
        self.directory = WorkingDirectory(home, home)
        self.directory.enter()
        given = keywords.pop("env_file")
        self._env_file = os.fspath(given) if given else None
        self._environment = EnvironmentFile(os.environ)
        self._environment.load(self._env_file)
        self._config = Config(**keywords)
        self.settings = self._config.supervised(bind)

    def load(self) -> Settings:
        """The configuration as it is now; environment and logging follow it. Raises ConfigError."""
        self.directory.enter()
        check_directories(self.settings)
        self._environment.load(self._env_file)
        self._config.configure_logging()
        return self.settings

    def command(self) -> Command:
        """Raises ConfigError: the program has started us."""
        raise ConfigError("a program has started the server (tricorn.run); restart the program instead")

    earlier = command

    def surroundings(self) -> Surroundings:
        """The directory in which we were started, and the environment without the variables of ``env_file``."""
        return Surroundings(self._environment.without(), self.directory.path)

    def files(self) -> tuple[str, ...]:
        """The paths of the files that :meth:`load` reads."""
        named = (self._env_file, self._config.log_config)
        return tuple(os.path.abspath(one) for one in named if isinstance(one, str | os.PathLike))


def begin(given: dict[str, Any]) -> NoReturn:
    """Be the supervisor, from the first line of a new Python to its exit code, which the program is told."""
    parent = socket.socket(fileno=given["parent"])
    parent.set_inheritable(False)
    code = EXIT_FAILED
    try:
        code = _supervise(given, parent)
    except SystemExit as stopped:
        # Told to stop before there was anything to stop.
        code = stopped.code if isinstance(stopped.code, int) else EXIT_FAILED
    finally:
        with contextlib.suppress(OSError):
            parent.send(bytes([code]))
    sys.exit(code)


def _supervise(given: dict[str, Any], parent: socket.socket) -> int:
    early.listen()
    sys.argv[:] = given["argv"]
    if given["in_uvicorns_place"]:
        sys.modules["uvicorn"] = sys.modules[__name__.partition(".")[0]]
    try:
        program = Program(load(given["keywords"]), tuple(given["bind"]))
        return supervise(program.settings, program, parent)
    except ConfigError as error:
        logger.error("%s", error)
        return error.exit_code
