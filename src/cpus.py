"""How many CPUs this process may use: fewer than there are, in a container."""

from __future__ import annotations

import os
from collections.abc import Callable


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return None


def cgroup_cpus(root: str = "/sys/fs/cgroup", read: Callable[[str], str | None] = _read) -> float | None:
    """How many CPUs the cgroup's quota allows; None where there is no quota.

    Reads ``cpu.max`` of cgroup v2 or ``cpu.cfs_quota_us`` of v1, as a process inside a container sees them
    (Linux' Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cpu CFS bandwidth control).
    """
    limit = read(f"{root}/cpu.max")
    if limit is not None:
        quota, period = limit.split()
    else:
        quota, period = (read(f"{root}/cpu/cpu.cfs_{name}_us") or "-1" for name in ("quota", "period"))
    if quota.strip() in ("max", "-1") or float(period) <= 0:
        return None
    return float(quota) / float(period)


def available_cpus() -> int:
    """How many workers can really run at once: what CPU affinity and the cgroup's quota allow, at least one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpus()
    return max(1, min(count, round(quota)) if quota is not None else count)
