"""Finds what importing a module has made that forked workers must not share, and which module it was.

- *threads*: in a forked process a thread is gone, and a lock that it held stays locked. Threads that are gone after a trial
  fork do no harm: their library stops them before a fork and starts them again when needed, as OpenBLAS does
  (``pthread_atfork(3)``);
- *descriptors*: all workers would share sockets, event loops (an epoll descriptor and a pair of sockets) and open files;
- *shared memory* and *child processes*, which workers would share without noticing.
"""

from __future__ import annotations

import importlib.machinery
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from ..config.frozen import Value
from .modules import file_of

HARMLESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
"""Devices without a state that processes could confuse."""
KINDS = {
    "pipe:": "opens a pipe",
    "anon_inode:inotify": "watches files",
    "anon_inode:[eventfd]": "opens an event descriptor",
    "anon_inode:[timerfd]": "opens a timer",
    "/dev/shm/": "makes shared memory",
    "/memfd:": "makes shared memory",
    "/dev/nvidia": "opens a GPU (a CUDA context)",
    "/dev/kfd": "opens a GPU",
    "/dev/dri/": "opens a GPU",
}
"""What it means to have opened a descriptor whose target begins so (proc(5), /proc/PID/fd)."""
LOADERS: tuple[Any, ...] = (
    importlib.machinery.SourceFileLoader,
    importlib.machinery.SourcelessFileLoader,
    importlib.machinery.ExtensionFileLoader,
)
MAX_SHOWN = 3
"""Different things that a module does which are named."""


class Surroundings(Value):
    """What importing a module may change beyond the memory of the process."""

    threads: int
    descriptors: dict[str, str]
    """What each descriptor refers to, by its number."""
    shared: frozenset[str]
    """Memory that is written by several processes."""
    children: frozenset[str]


def look_around() -> Surroundings:
    """The surroundings of this process at the moment."""
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        # The descriptor that listed the directory is gone.
        with suppress(OSError):
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
    return Surroundings(len(_tasks()), descriptors, _shared_memory(), _children())


def harms(before: Surroundings) -> dict[str, str]:
    """What this process has since ``before`` that workers must not share, in words; by descriptor, or the kind of thing."""
    after = look_around()
    found = {}
    for name, target in after.descriptors.items():
        if before.descriptors.get(name) != target and not is_harmless(int(name), target):
            found[name] = describe(int(name), target)
    if after.shared - before.shared and not any("shared memory" in harm for harm in found.values()):
        found["memory"] = "makes shared memory"
    if after.children - before.children:
        found["process"] = "starts a process"
    if any(signal.getitimer(timer)[0] for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)):
        found["timer"] = "sets a timer of the system (setitimer)"
    if threading.active_count() > 1:
        found["thread"] = f"starts the thread {threading.enumerate()[-1].name}"
    elif after.threads > 1 and threads_after_fork() > 1:
        found["thread"] = "starts a thread"
    return found


def summary(found: list[str]) -> str:
    """Harms of one module as one phrase."""
    different = list(dict.fromkeys(found))
    if "makes an event loop" in different:
        # Its pair of sockets says nothing more.
        different = [one for one in different if one != "opens a socket"]
    more = len(different) - MAX_SHOWN
    return ", ".join(different[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")


def describe(descriptor: int, target: str) -> str:
    """What it means that a module has opened ``descriptor``, which refers to ``target``."""
    if target == "anon_inode:[eventpoll]":
        return "makes an event loop"
    if target.startswith("socket:"):
        return _describe_socket(descriptor)
    return next((what for start, what in KINDS.items() if target.startswith(start)), f"opens {target}")


def _describe_socket(descriptor: int) -> str:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as opened:
            peer = opened.getpeername()
    except OSError:
        return "opens a socket"
    if isinstance(peer, tuple):
        return f"opens a connection to {peer[0]}:{peer[1]}"
    return f"opens a connection to {peer}" if peer else "opens a socket"


def is_harmless(descriptor: int, target: str) -> bool:
    """Whether processes may share this descriptor.

    That is so for some devices, and for a file that is only mapped for reading: nobody reads it by its position.
    prometheus_client opens its files again in each process.
    """
    if target in HARMLESS or target.startswith(f"/proc/{os.getpid()}/fd"):
        return True
    metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if metrics and target.startswith(f"{os.path.realpath(metrics)}/"):
        return True
    return target.startswith("/") and _is_mapped_for_reading(descriptor, target)


def _is_mapped_for_reading(descriptor: int, target: str) -> bool:
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            return flags & os.O_ACCMODE == os.O_RDONLY and any(line.rstrip("\n").endswith(f" {target}") for line in file)
    except (OSError, StopIteration):
        return False


def threads_after_fork() -> int:
    """The number of threads after a trial fork: a library that knows about forks stops its threads before."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    # A thread that was joined is still there for a moment.
    deadline = time.monotonic() + 0.2
    while (count := len(_tasks())) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    return count


def _tasks() -> list[str]:
    return os.listdir("/proc/self/task")


def _children() -> frozenset[str]:
    found: set[str] = set()
    for task in _tasks():
        with suppress(OSError), open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            found.update(file.read().split())
    return frozenset(found)


def _shared_memory() -> frozenset[str]:
    """The mappings that other processes see when this one writes (proc(5): ``rw-s``), but for prometheus_client's."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        lines = [line.split(maxsplit=5) for line in file if "rw-s" in line[:40]]
    metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    ours = f"{os.path.realpath(metrics)}/" if metrics else None
    return frozenset(line[0] for line in lines if ours is None or len(line) < 6 or not line[5].startswith(ours))


class Witness:
    """Sees in which module's code a descriptor or a thread came to be, while modules are imported inside :meth:`watching`.

    It looks before and after the code of each module that comes from a file. That costs about 0.1 ms for a module.
    """

    def __init__(self) -> None:
        self.importers: dict[str, list[str]] = {}
        """The modules that were imported, innermost first, each with those that were importing it at that moment."""
        self._told = 0
        """How many of them :meth:`news` has told."""
        self._running: list[str] = []
        self._blamed: dict[tuple[str, str], list[str]] = {}
        """By descriptor, thread or process: the module in whose code it appeared, and those that were importing that one."""
        self._seen = self._look()

    def culprits(self, what: str) -> list[str]:
        """The module that made ``what``, a key of :func:`harms`, and those that were importing it; empty if it was not seen."""
        if what.isdigit():
            return self._blamed.get(("fd", what), [])
        return next((names for (kind, _), names in self._blamed.items() if kind == what), [])

    def news(self) -> list[str]:
        """The modules that were imported since the last call."""
        names = list(self.importers)[self._told :]
        self._told = len(self.importers)
        return names

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside this context modules are watched."""
        patched = [(loader, name) for loader in LOADERS for name in ("create_module", "exec_module")]
        before = [vars(loader).get(name) for loader, name in patched]
        for loader, name in patched:
            wrap = self._around_code if name == "exec_module" else self._before_code
            setattr(loader, name, wrap(getattr(loader, name)))
        try:
            yield
        finally:
            for (loader, name), original in zip(patched, before, strict=True):
                if original is None:
                    delattr(loader, name)
                else:
                    setattr(loader, name, original)
            self._look_again()

    def _before_code(self, create: Callable[[Any, Any], ModuleType | None]) -> Callable[[Any, Any], ModuleType | None]:
        # Some extension modules run already when they are created.
        def create_module(loader: Any, spec: Any) -> ModuleType | None:
            self._look_again()
            return create(loader, spec)

        return create_module

    def _around_code(self, execute: Callable[[Any, ModuleType], None]) -> Callable[[Any, ModuleType], None]:
        def exec_module(loader: Any, module: ModuleType) -> None:
            self._running.append(module.__name__)
            try:
                execute(loader, module)
                self.importers[module.__name__] = self._running[-2::-1]
            finally:
                self._look_again()
                self._running.pop()

        return exec_module

    def _look_again(self) -> None:
        now = self._look()
        for new in now - self._seen:
            self._blamed[new] = self._running[::-1]
        self._seen = now

    @staticmethod
    def _look() -> frozenset[tuple[str, str]]:
        names = set(os.listdir("/proc/self/fd"))
        # Listing the directory took the lowest free descriptor, which is free again.
        free = os.open("/", os.O_RDONLY)
        os.close(free)
        names.discard(str(free))
        found = {"fd": names, "thread": _tasks(), "process": _children()}
        return frozenset((kind, name) for kind, its in found.items() for name in its)


def own_modules(is_own: Callable[[str], bool]) -> list[str]:
    """The names of loaded modules whose files are ``is_own``."""
    loaded = [(name, file_of(module)) for name, module in list(sys.modules.items()) if name != "__main__"]
    return [name for name, file in loaded if file is not None and is_own(file)]
