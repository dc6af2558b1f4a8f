"""What a tree of processes has used: CPU time, memory, wake-ups. Linux."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


def tree(root: int) -> list[int]:
    """The pids of ``root`` and all its living descendants."""
    try:
        process = psutil.Process(root)
        found = [process, *process.children(recursive=True)]
        return sorted(one.pid for one in found if one.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of ``pid``, also of those that ended, in seconds, to the nanosecond.

    Reads the process' CPU clock, whose number clock_getcpuclockid(3) makes of the pid, because the times in
    /proc/PID/stat come in ticks of 10 ms and /proc/PID/schedstat covers one thread.
    """
    return time.clock_gettime((~pid << 3) | 2)


def cpu_of(pids: Iterable[int]) -> float:
    return sum(cpu_seconds(pid) for pid in pids)


def machine_seconds() -> float:
    """How long the CPUs have not been idle, summed over them, with what the hypervisor gave to others; see proc_stat(5)."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """User and system time of this process' children that ended and were waited for, such as wrk."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Memory:
    """Bytes: ``pss`` shares each page fairly among those that map it, ``private`` counts only what nobody else maps."""

    pss: int
    private: int


def memory(pid: int) -> Memory:
    """From /proc/PID/smaps_rollup: see proc_pid_smaps(5)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    size = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return Memory(size["Pss"], size["Private_Clean"] + size["Private_Dirty"])


def switches(pid: int) -> int:
    """How often the threads of ``pid`` gave up a CPU, voluntarily or not: each is a wake-up later."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError):
            total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", status.read_text()))
    return total


@contextlib.contextmanager
def on_cores(cores: set[int] | None) -> Iterator[None]:
    """What is started in the block runs on ``cores`` only; None leaves it to the scheduler."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def server_cores(workers: int) -> set[int] | None:
    """The CPUs for a server: one for one worker, all but the load generator's where that leaves a CPU per worker.

    None (the scheduler decides) where there are not enough of them.
    """
    cores = sorted(os.sched_getaffinity(0))
    return set(cores[:workers]) if workers < len(cores) else None


def load_cores(workers: int) -> set[int] | None:
    """The CPUs for the load generator: those that :func:`server_cores` leaves free."""
    servers = server_cores(workers)
    return os.sched_getaffinity(0) - servers if servers else None
