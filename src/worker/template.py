"""With ``--reload``: a process that has imported the installed packages, from which workers are forked.

It imports what the application imported last time and what comes from installed packages, never the developer's own code. A
worker forked from it finds those modules there, and imports the rest. Three things could be shared that must not be, so what
brings them is left out, and the process, which has it by then, is made anew without:

- *threads*: a thread does not live on in a forked process, and a lock it held stays locked. Threads that are gone after a trial
  fork are no harm: their library puts them away before a fork and starts them again when needed, as OpenBLAS does
  (``pthread_atfork(3)``);
- *descriptors*: sockets, event loops (an epoll descriptor and a pair of sockets) and open files would be shared by all workers;
- *the developer's code*, which a package may import by itself: it would be old after the next save.

Workers are the supervisor's children: they are forked twice, and as the process in between is gone at once, the kernel gives
them to the supervisor, which has declared itself the one to reap them (``PR_SET_CHILD_SUBREAPER``, prctl(2)).
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from ..config.frozen import Value
from ..config.options import Config
from ..ipc import channel
from ..ipc.handover import Ends
from ..ipc.scoreboard import Scoreboard
from . import modules
from .loader import prepare_path
from .main import Birth

IMPORT, FORK = "import", "fork"
"""To the template: import these modules; fork a worker (with its channel and the file for its autopsy)."""
WARM, LEFT_OUT, STALE, FORKED = "warm", "left out", "stale", "forked"
"""From it: so many modules were looked at; this one is left out, and I exit if it did harm; I am outdated and exit; the pid."""
SAYS: channel.Table = {
    WARM: channel.Shape({"seen": channel.whole}),
    LEFT_OUT: channel.Shape({"module": channel.text, "why": channel.log_line, "harmful": channel.flag}),
    STALE: channel.Shape(),
    FORKED: channel.Shape({"pid": channel.whole}),
}
"""All that the template says."""
HEARS: channel.Table = {
    IMPORT: channel.Shape({"names": channel.names}),
    FORK: channel.Shape({"birth": channel.record}),
}
REQUEST = 65536

State = tuple[int, int]


class Heritage(Value):
    """What the template passes on to all workers, as the supervisor does to those that it forks itself."""

    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    handover: Ends | None
    main: Callable[[Config, Birth], int]
    live: Callable[[Callable[[], int]], NoReturn]
    """Lives the given life to its exit code, and exits with that, whatever happens."""


class Harmful(Exception):
    """Importing a module did what would be shared by all workers; the text says what."""


class Template:
    def __init__(self, config: Config, link: socket.socket, heritage: Heritage) -> None:
        self._config = config
        self._link = link
        self._heritage = heritage
        self._seen = 0
        """Modules that were looked at, be they imported or left out."""
        self._files: dict[str, State | None] = {}
        self._decoder = channel.Decoder(HEARS)

    def run(self, names: Iterable[str], without: Iterable[str]) -> int:
        """Import ``names`` but for those in packages ``without``, then do what is asked until the supervisor is gone."""
        self._without = frozenset(without)
        prepare_path(self._config.app_dir)
        try:
            self._import(names)
            while self._serve():
                pass
        except Harmful:
            return 0
        return 0

    # ------------------------------------------------------------------------------------------------------------ import

    def _import(self, names: Iterable[str]) -> None:
        """Raises Harmful, having said of which module."""
        for name in names:
            self._seen += 1
            if self._is_left_out(name) or name in sys.modules:
                continue
            before = look_around()
            try:
                importlib.import_module(name)
            except BaseException as error:
                self._say(LEFT_OUT, module=name, why=f"it fails: {type(error).__name__}: {error}"[:500], harmful=False)
            try:
                check_harm(before)
            except Harmful as harm:
                self._say(LEFT_OUT, module=name, why=str(harm), harmful=True)
                raise
        self._remember_files()
        gc.collect()
        # Frozen, the collector does not touch it, so workers go on sharing its pages and collect faster.
        gc.freeze()
        self._say(WARM, seen=self._seen)

    def _is_left_out(self, name: str) -> bool:
        return any(name == other or name.startswith(f"{other}.") for other in self._without)

    # -------------------------------------------------------------------------------------------------------- outdated

    def _remember_files(self) -> None:
        for module in list(sys.modules.values()):
            file = modules.file_of(module)
            if file is not None and modules.is_installed(file):
                self._files.setdefault(file, _state(file))
        # A package that is installed or removed changes the directory; another may then import it if it is there.
        for directory in modules.installed_directories():
            self._files.setdefault(directory, _state(directory))

    def _is_outdated(self) -> bool:
        """Whether a worker that imports everything itself would get something else than from us."""
        return any(_state(path) != state for path, state in self._files.items()) or self._is_shadowed()

    def _is_shadowed(self) -> bool:
        """Whether the developer has made a module that goes before an installed one of the same name."""
        tops = {name.partition(".")[0] for name, module in list(sys.modules.items()) if _is_installed(module)}
        for directory in sys.path:
            if modules.is_installed(f"{directory}/"):
                return False
            if modules.is_developers(f"{directory}/") and tops & set(_modules_in(directory or ".")):
                return True
        return False

    # -------------------------------------------------------------------------------------------------------------- fork

    def _serve(self) -> bool:
        """Do what is asked next; false when nothing will be any more."""
        data, descriptors, _, _ = socket.recv_fds(self._link, REQUEST, 2)
        if not data:
            return False
        for message in self._decoder.feed(data):
            if message["kind"] == IMPORT:
                self._import(message["names"])
            elif message["kind"] == FORK:
                if self._is_outdated():
                    self._say(STALE)
                    return False
                self._fork(message["birth"], *descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
        return True

    def _fork(self, birth: dict[str, Any], link: int, autopsy: int) -> None:
        # What a module printed and is still buffered would be written once more by every worker.
        sys.stdout.flush()
        sys.stderr.flush()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        between = os.fork()
        if between == 0:
            try:
                worker = os.fork()
                if worker == 0:
                    self._heritage.live(lambda: self._be_worker(birth, link, autopsy, unblocked))
                # Before the supervisor can come to know of the worker's death: that is not before we are gone.
                self._say(FORKED, pid=worker)
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        os.waitpid(between, 0)

    def _be_worker(self, details: dict[str, Any], link: int, autopsy: int, unblocked: set[Any]) -> int:
        self._link.close()
        reseed()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        heritage = self._heritage
        birth = Birth(
            **details,
            channel=socket.socket(fileno=link),
            listeners=heritage.listeners,
            scoreboard=heritage.scoreboard,
            autopsy=autopsy,
            handover=heritage.handover,
        )
        os.environ["TRICORN_SLOT"] = str(birth.slot)
        return heritage.main(self._config, birth)

    def _say(self, kind: str, **details: Any) -> None:
        self._link.sendall(channel.encode(kind, **details))


def reseed() -> None:
    """After the fork: let chance be each worker's own. Python's ``random`` sees to that itself, NumPy does not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


class Surroundings(Value):
    """What importing a module may have changed beyond its own memory."""

    threads: int
    descriptors: dict[str, str]
    own: int
    """How many of the developer's modules there are."""


def look_around() -> Surroundings:
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            # The one that listed the directory.
            continue
    own = sum(1 for module in list(sys.modules.values()) if _is_own(module))
    return Surroundings(len(os.listdir("/proc/self/task")), descriptors, own)


def check_harm(before: Surroundings) -> None:
    """Raises Harmful if since ``before`` something came to be that workers must not share."""
    after = look_around()
    opened = {target for name, target in after.descriptors.items() if before.descriptors.get(name) != target}
    if opened:
        raise Harmful(f"it opens {', '.join(sorted(opened))}")
    if after.own > before.own:
        raise Harmful("it imports the application's own code")
    if threading.active_count() > 1:
        raise Harmful(f"it starts the thread {threading.enumerate()[-1].name}")
    if after.threads > 1 and _threads_after_fork() > 1:
        raise Harmful("it starts a thread")


def _threads_after_fork() -> int:
    """How many threads this process has left when it has forked: a library that knows of forks puts its own away before."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    # A thread that was joined is there for a moment more.
    deadline = time.monotonic() + 0.2
    while (count := len(os.listdir("/proc/self/task"))) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    return count


def _is_own(module: Any) -> bool:
    file = modules.file_of(module)
    return file is not None and module.__name__ != "__main__" and modules.is_developers(file)


def _is_installed(module: Any) -> bool:
    file = modules.file_of(module)
    return file is not None and modules.is_installed(file)


def _modules_in(directory: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith((".py", ".so")) or os.path.exists(os.path.join(entry.path, "__init__.py")):
            yield entry.name.partition(".")[0]


def _state(path: str) -> State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def main(config: Config, link: socket.socket, heritage: Heritage, names: Iterable[str], without: Iterable[str]) -> int:
    """The template's process, from fork to exit code."""
    try:
        return Template(config, link, heritage).run(names, without)
    except (BrokenPipeError, ConnectionResetError):
        return 0
