"""How many CPUs this process may use. In a container, or under systemd's ``CPUQuota=``, these are fewer than there are."""

from __future__ import annotations

import os

from .cgroups import Read, cgroups, read_file


def cgroup_cpus(read: Read = read_file, pid: str = "self") -> float | None:
    """How many CPUs the quotas of a process's cgroup and of the cgroups above it allow, or None if there is no quota.

    Reads ``cpu.max`` of cgroup v2 and ``cpu.cfs_quota_us`` of v1 (Linux' Documentation/admin-guide/cgroup-v2.rst and
    scheduler/sched-bwc.rst).
    """
    quotas = [_quota(directory, read) for directory in cgroups("cpu", read, pid)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(directory: str, read: Read) -> float | None:
    limit = read(f"{directory}/cpu.max")
    if limit is None:
        limit = " ".join(read(f"{directory}/cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    try:
        quota, period = map(float, limit.split())
    except ValueError:
        # No limit ("max"), or the files do not exist.
        return None
    return quota / period if quota > 0 and period > 0 else None


def available_cpus() -> int:
    """How many workers can run at the same time: what CPU affinity and cgroup quotas allow, at least one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cpus()
    return max(1, min(count, round(quota)) if quota is not None else count)
