"""Limits of the machine: open files, the memory of workers, and whether the kernel killed one because memory ran out."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Mapping

from ..config.frozen import Value
from .messages import Recycle

SAMPLE_EVERY = 5.0
"""Seconds between two samples of the workers' memory."""
SAMPLES_ABOVE = 2
"""Samples in a row above the limit until a worker is recycled: one large answer is no leak."""
MIB = 1024 * 1024
MAX_FILES = 524288
"""As many open files as systemd allows by default. Some containers allow a billion, and some programs, perhaps started by
the application, close all descriptors that could be open one by one."""


def raise_open_files() -> None:
    """Let this process and its children open as many files as they may: raise the soft limit to the hard one (setrlimit(2)).

    The soft one, 1024 most often, is for programs that use select(2); each connection takes a descriptor.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    while soft != resource.RLIM_INFINITY and wanted > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            # macOS has a second limit, kern.maxfilesperproc, which differs between releases.
            wanted //= 2
        else:
            return


def resident_memory(pid: int) -> int | None:
    """The process's resident set size in bytes; None if it is gone or hidden."""
    # Late, because few operators limit memory, and the import takes a tenth of the start-up.
    import psutil

    try:
        rss: int = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
    return rss


class Usage(Value):
    """What a process has used and holds."""

    cpu_seconds: float
    """CPU time in user and kernel mode."""
    rss_bytes: int
    """Its resident set size."""


def usage_of(pid: int) -> Usage | None:
    """What the process uses now; None if it is gone or hidden."""
    if sys.platform != "linux":
        # Late, because the import takes long.
        import psutil

        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            return Usage(round(times.user + times.system, 3), process.memory_info().rss)
        except psutil.Error:
            return None
    # Late, because only a client of the control socket asks.
    from ..metrics.processes import stat_of

    # proc(5): utime is the 12th field behind the name, stime the 13th, rss the 22nd.
    fields = stat_of(pid)
    if len(fields) < 22:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return Usage(round(ticks / os.sysconf("SC_CLK_TCK"), 3), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


class MemorySampler:
    """Finds the workers that use more memory than ``--limit-max-rss``."""

    def __init__(self, every: float = SAMPLE_EVERY, measure: Callable[[int], int | None] = resident_memory) -> None:
        self._every = every
        self._measure = measure
        self._due = 0.0
        self._above: dict[int, int] = {}

    def next_deadline(self, limited: bool, now: float) -> float | None:
        """When to call :meth:`sample`; None if no worker is ``limited``."""
        if not limited:
            return None
        self._due = self._due or now + self._every
        return self._due

    def sample(self, limits: Mapping[int, tuple[int, int]], now: float) -> list[Recycle]:
        """If it is due, measure all workers of ``limits`` (worker -> pid and limit in MiB)."""
        if not self._due or now < self._due:
            return []
        self._due = now + self._every
        facts = []
        counts = {}
        for worker, (pid, limit) in limits.items():
            rss = self._measure(pid)
            if rss is None or rss <= limit * MIB:
                continue
            counts[worker] = self._above.get(worker, 0) + 1
            if counts[worker] >= SAMPLES_ABOVE:
                facts.append(Recycle(worker, f"uses {rss // MIB} MiB, more than --limit-max-rss {limit} MiB"))
        self._above = counts
        return facts


# ------------------------------------------------------------------------------------------------------------------- OOM


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def oom_counters(membership: str, root: str = "/sys/fs/cgroup") -> list[str]:
    """The files that may count our cgroup's OOM kills, best first.

    ``membership`` is the text of ``/proc/self/cgroup`` (cgroups(7)): ``0::PATH`` for v2, ``N:memory:PATH`` for v1. Inside
    a container the path may be that of the host; then the counter is that of the root we see.
    """
    paths: list[tuple[str, ...]] = []
    for line in membership.splitlines():
        _, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        inner = path.strip("/")
        if "memory" in controllers.split(","):
            paths += [("memory", inner, "memory.oom_control"), ("memory", "memory.oom_control")]
        elif not controllers:
            paths += [(inner, "memory.events"), ("memory.events",)]
    return [os.path.join(root, *parts) for parts in paths]


class OomKills:
    """Tells whether the kernel sent a worker's SIGKILL because memory ran out in our cgroup.

    Reads ``oom_kill`` of ``memory.events`` (v2) or ``memory.oom_control`` (v1), see Linux'
    Documentation/admin-guide/cgroup-v2.rst.
    """

    def __init__(self, paths: list[str] | None = None) -> None:
        candidates = oom_counters(_read("/proc/self/cgroup")) if paths is None else paths
        self._path = next((path for path in candidates if "oom_kill " in _read(path)), None)
        self.known = self._count()
        """Those that were counted before, or were taken."""

    def _count(self) -> int:
        text = _read(self._path) if self._path is not None else ""
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)

    def take(self) -> bool:
        """Whether the kernel has killed one more process. Each kill is counted for one worker only."""
        happened = self._count() > self.known
        self.known += happened
        return happened
