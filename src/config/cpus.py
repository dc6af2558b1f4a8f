"""How many CPUs this process may use. In a container, or under systemd's ``CPUQuota=``, these are fewer than there are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

Read = Callable[[str], str | None]
"""Returns the text of a file, or None if the file can't be read."""


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def cgroup_cpus(read: Read = _read) -> float | None:
    """How many CPUs the quotas of our cgroup and of the cgroups above it allow, or None if there is no quota.

    Reads ``cpu.max`` of cgroup v2 and ``cpu.cfs_quota_us`` of v1 (Linux' Documentation/admin-guide/cgroup-v2.rst and
    scheduler/sched-bwc.rst).
    """
    quotas = [_quota(directory, read) for directory in _cgroups(read)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _cgroups(read: Read) -> Iterator[str]:
    """The directories of the cgroups that may limit our CPU time: ours and all that we can see above it."""
    memberships = dict(_memberships(read("/proc/self/cgroup") or ""))
    for kind, root, mount_point in _mounts(read("/proc/self/mountinfo") or ""):
        path = memberships.get(kind, "/")
        # A container without its own cgroup namespace sees the host's path, but only the files below ``root``.
        inner = path[len(root.rstrip("/")) :] if f"{path}/".startswith(f"{root.rstrip('/')}/") else ""
        names = [name for name in inner.split("/") if name]
        if ".." in names:
            # We were moved out of the namespace whose files we see.
            names = []
        for depth in range(len(names) + 1):
            yield "/".join((mount_point.rstrip("/"), *names[:depth]))


def _memberships(text: str) -> Iterator[tuple[str, str]]:
    """``v1`` or ``v2``, and the path of our cgroup there, from ``/proc/self/cgroup`` (cgroups(7))."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield "v2", path
        elif "cpu" in controllers.split(","):
            yield "v1", path


def _mounts(text: str) -> Iterator[tuple[str, str, str]]:
    """``v1`` or ``v2``, root and mount point of each hierarchy that may limit CPU time (proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        place, _, kind = line.partition(" - ")
        fields, (file_system, _, options) = place.split(), (*kind.split(), "", "", "")[:3]
        if len(fields) < 5 or (file_system == "cgroup" and "cpu" not in options.split(",")):
            continue
        version = {"cgroup": "v1", "cgroup2": "v2"}.get(file_system)
        if version is not None:
            yield version, _unescape(fields[3]), _unescape(fields[4])


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


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
