"""The cgroups that limit a process, and the files that say how (cgroups(7)). Linux only; elsewhere there are none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Read = Callable[[str], str | None]
"""Returns the text of a file, or None if the file can't be read."""


def read_file(path: str) -> str | None:
    """The text of the file, or None if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def cgroups(controller: str, read: Read = read_file, pid: str = "self") -> Iterator[str]:
    """The directories of the cgroups that may limit the process ``pid`` by ``controller`` (of v1's names; such as ``cpu``).

    They are the process's own cgroup, and all that can be seen above it.
    """
    memberships = dict(_memberships(read(f"/proc/{pid}/cgroup") or "", controller))
    for kind, root, mount_point in _mounts(read(f"/proc/{pid}/mountinfo") or "", controller):
        path = memberships.get(kind, "/")
        # A container without its own cgroup namespace sees the host's path, but only the files below ``root``.
        inner = path[len(root.rstrip("/")) :] if f"{path}/".startswith(f"{root.rstrip('/')}/") else ""
        names = [name for name in inner.split("/") if name]
        if ".." in names:
            # The process was moved out of the namespace whose files are seen.
            names = []
        for depth in range(len(names) + 1):
            yield "/".join((mount_point.rstrip("/"), *names[:depth]))


def _memberships(text: str, controller: str) -> Iterator[tuple[str, str]]:
    """``v1`` or ``v2``, and the path of the cgroup there, from ``/proc/PID/cgroup``."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield "v2", path
        elif controller in controllers.split(","):
            yield "v1", path


def _mounts(text: str, controller: str) -> Iterator[tuple[str, str, str]]:
    """``v1`` or ``v2``, root and mount point of each hierarchy with ``controller`` (proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        place, _, kind = line.partition(" - ")
        fields, (file_system, _, options) = place.split(), (*kind.split(), "", "", "")[:3]
        if len(fields) < 5 or (file_system == "cgroup" and controller not in options.split(",")):
            continue
        version = {"cgroup": "v1", "cgroup2": "v2"}.get(file_system)
        if version is not None:
            yield version, _unescape(fields[3]), _unescape(fields[4])


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
