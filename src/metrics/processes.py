"""What the system tells of processes: memory and CPU time."""

from __future__ import annotations

import os
from collections.abc import Iterable


def memory_of(pids: Iterable[int]) -> float | None:
    """Bytes that the processes use. What they share counts once (PSS) where that can be read. None if nothing can be."""
    total, is_known = 0, False
    for pid in pids:
        size = _pss(pid)
        if size is None:
            size = _rss(pid)
        if size is not None:
            total, is_known = total + size, True
    return float(total) if is_known else None


def _pss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _rss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def cpu_of(supervisor: int, others: Iterable[int]) -> float | None:
    """Seconds of CPU time of all processes, with those of the supervisor's children that are gone. None if unknown."""
    ticks = 0
    for pid in (supervisor, *others):
        fields = stat_of(pid)
        if len(fields) < 15:
            if pid == supervisor:
                return None
            continue
        # proc(5): behind the name utime, stime, cutime and cstime are the 12th to the 15th field.
        ticks += sum(map(int, fields[11:15]))
    return float(ticks) / os.sysconf("SC_CLK_TCK")


def stat_of(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the name, which may hold anything (proc(5)): the state is the first of them.

    Empty if the process is gone, or the system has no ``/proc``.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
