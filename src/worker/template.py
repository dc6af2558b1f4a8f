"""With ``--reload``: the template, a process that has imported the installed packages and forks workers.

It imports those modules of installed packages that the application imported last time, never the developer's own code. A worker
that it forks finds these modules loaded, and imports the others. Workers must not share three things. A module that brings one
of them is left out, and the template, which has it by then, is started again without that module:

- *threads*: in a forked process a thread is gone, and a lock that it held stays locked. Threads that are gone after a trial
  fork do no harm: their library stops them before a fork and starts them again when needed, as OpenBLAS does
  (``pthread_atfork(3)``);
- *descriptors*: all workers would share sockets, event loops (an epoll descriptor and a pair of sockets) and open files;
- *the developer's code*, which a package may import by itself: after the next save it would be old.

Workers are children of the supervisor. The template forks twice, and the process in between exits at once. So the kernel gives
the worker to the supervisor, which has asked to reap it (``PR_SET_CHILD_SUBREAPER``, prctl(2)).
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
"""To the template: import these modules; fork a worker (its channel and the file for its hang report come along)."""
WARM, LEFT_OUT, STALE, FORKED = "warm", "left out", "stale", "forked"
"""From the template: it has tried so many modules; it leaves this one out, and exits if that did harm; it is outdated and
exits; the pid of a worker."""
SAYS: channel.Table = {
    WARM: channel.Shape({"seen": channel.whole}),
    LEFT_OUT: channel.Shape({"module": channel.text, "why": channel.log_line, "harmful": channel.flag}),
    STALE: channel.Shape(),
    FORKED: channel.Shape({"pid": channel.whole}),
}
"""All messages from the template."""
HEARS: channel.Table = {
    IMPORT: channel.Shape({"names": channel.names}),
    FORK: channel.Shape({"birth": channel.record}),
}
REQUEST = 65536

State = tuple[int, int]


class Heritage(Value):
    """What all workers of the template inherit, as those that the supervisor forks itself do."""

    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    handover: Ends | None
    main: Callable[[Config, Birth], int]
    live: Callable[[Callable[[], int]], NoReturn]
    """Calls the given function and exits with the code that it returns, whatever happens."""


class Harmful(Exception):
    """Importing a module made something that workers must not share; the text says what."""


class Template:
    """Imports modules and forks workers, as the supervisor asks."""

    def __init__(self, config: Config, link: socket.socket, heritage: Heritage, without: Iterable[str]) -> None:
        """``without``: packages that are left out."""
        self._config = config
        self._link = link
        self._heritage = heritage
        self._without = frozenset(without)
        self._seen = 0
        """The number of modules tried, imported or left out."""
        self._files: dict[str, State | None] = {}
        self._decoder = channel.Decoder(HEARS)

    def run(self, names: Iterable[str]) -> int:
        """Import ``names``, then do what the supervisor asks until it is gone."""
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
        """Raises Harmful, after it has told the supervisor of the module."""
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
        # The garbage collector does not touch frozen objects, so workers go on sharing their pages, and collect faster.
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
        # Installing or removing a package changes the directory. Other packages may import it only if it is there.
        for directory in modules.installed_directories():
            self._files.setdefault(directory, _state(directory))

    def _is_outdated(self) -> bool:
        """Whether a worker that imports all modules itself would get others than from us."""
        return any(_state(path) != state for path, state in self._files.items()) or self._is_shadowed()

    def _is_shadowed(self) -> bool:
        """Whether the developer has made a module that hides an installed one of the same name."""
        tops = {name.partition(".")[0] for name, module in list(sys.modules.items()) if _is_installed(module)}
        for directory in sys.path:
            if modules.is_installed(f"{directory}/"):
                return False
            if modules.is_developers(f"{directory}/") and tops & set(_modules_in(directory or ".")):
                return True
        return False

    # -------------------------------------------------------------------------------------------------------------- fork

    def _serve(self) -> bool:
        """Do what is asked next; returns False when nothing more will come."""
        data, descriptors, _, _ = socket.recv_fds(self._link, REQUEST, 3)
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

    def _fork(self, birth: dict[str, Any], link: int, hang_report: int, stalls: int) -> None:
        # Otherwise every worker would write what a module printed and Python still buffers.
        sys.stdout.flush()
        sys.stderr.flush()
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        between = os.fork()
        if between == 0:
            try:
                worker = os.fork()
                if worker == 0:
                    self._heritage.live(lambda: self._be_worker(birth, link, hang_report, stalls, unblocked))
                # The supervisor can reap the worker only when this process is gone. So it learns the pid in time.
                self._say(FORKED, pid=worker)
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        os.waitpid(between, 0)

    def _be_worker(self, details: dict[str, Any], link: int, hang_report: int, stalls: int, unblocked: set[Any]) -> int:
        self._link.close()
        reseed()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        heritage = self._heritage
        birth = Birth(
            **details,
            channel=socket.socket(fileno=link),
            listeners=heritage.listeners,
            scoreboard=heritage.scoreboard,
            hang_report=hang_report,
            stalls=stalls,
            handover=heritage.handover,
        )
        os.environ["TRICORN_SLOT"] = str(birth.slot)
        return heritage.main(self._config, birth)

    def _say(self, kind: str, **details: Any) -> None:
        self._link.sendall(channel.encode(kind, **details))


def reseed() -> None:
    """After the fork: give each worker random numbers of its own. Python's ``random`` does that itself, NumPy does not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


class Surroundings(Value):
    """What importing a module may change beyond the memory of the process."""

    threads: int
    descriptors: dict[str, str]
    own: int
    """The number of the developer's modules that are loaded."""


def look_around() -> Surroundings:
    """The surroundings of this process at the moment."""
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            # The descriptor that listed the directory is gone.
            continue
    own = sum(1 for module in list(sys.modules.values()) if _is_own(module))
    return Surroundings(len(os.listdir("/proc/self/task")), descriptors, own)


def check_harm(before: Surroundings) -> None:
    """Raises Harmful if this process has something since ``before`` that workers must not share."""
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
    """The number of threads after a trial fork: a library that knows about forks stops its threads before."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    # A thread that was joined is still there for a moment.
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
    """The process of the template, from fork to exit code."""
    try:
        return Template(config, link, heritage, without).run(names)
    except (BrokenPipeError, ConnectionResetError):
        return 0
