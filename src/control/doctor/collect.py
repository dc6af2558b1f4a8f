"""Collects an :class:`Environment` from ``/proc``, ``/sys/fs/cgroup`` and systemd. What can't be read is left out."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ...config.cgroups import cgroups, read_file
from ...config.cpus import cgroup_cpus
from ...ipc.control import DEBUGGING
from .certificate import ends_at
from .environment import Environment, Options, StopTime

NO_LIMIT = 2**62
"""Bytes from which a memory limit of cgroup v1 is none: without one the file says 2**63, rounded down to a page."""
SYSTEMCTL_TIME = 2.0
"""Seconds that systemctl gets to answer; it takes hundredths."""
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Units of time spans as systemctl prints them (systemd.time(7)), in seconds."""
TELL = "if it has more, say so: doctor --stop-time SECONDS"
STOPS = {
    "Kubernetes": StopTime(30, "Kubernetes, by its default,", f"the pod's terminationGracePeriodSeconds: {{}}; {TELL}"),
    "Docker": StopTime(
        10, "docker stop, by its default,", f"docker run --stop-timeout {{}} (compose: stop_grace_period); {TELL}"
    ),
    "Podman": StopTime(10, "podman stop, by its default,", f"podman run --stop-timeout {{}}; {TELL}"),
}
"""The defaults; a process in a container can't see what it was given."""


class System:
    """Reads about the process ``pid``, whose environment has ``variables``; a test gives the ``root`` of a made-up system."""

    def __init__(self, pid: int, variables: Mapping[str, str], root: str = "") -> None:
        self._root = root
        self._variables = variables
        self._pid = str(pid)

    def read(self, path: str) -> str | None:
        """The text of a file, or None."""
        return read_file(self._root + path)

    def read_inside(self, path: str) -> str | None:
        """The same, of the file system that the process sees: it may run in a container, and this command outside."""
        text = self.read(f"/proc/{self._pid}/root{path}")
        return text if text is not None else self.read(path)

    def exists_inside(self, path: str) -> bool:
        """Whether the process sees such a file."""
        return any(os.path.exists(f"{self._root}{where}{path}") for where in (f"/proc/{self._pid}/root", ""))

    def status(self, name: str) -> str:
        """A field of ``/proc/PID/status``; empty if there is none."""
        found = re.search(rf"^{name}:\s*(.*)$", self.read(f"/proc/{self._pid}/status") or "", re.MULTILINE)
        return found[1] if found is not None else ""

    # What the checks want to know.

    def open_files(self) -> int | None:
        """The hard limit (proc_pid_limits(5))."""
        found = re.search(r"^Max open files\s+\S+\s+(\d+)", self.read(f"/proc/{self._pid}/limits") or "", re.MULTILINE)
        return int(found[1]) if found is not None else None

    def somaxconn(self) -> int | None:
        """The longest queue of connections that wait to be accepted (listen(2))."""
        return _whole(self.read_inside("/proc/sys/net/core/somaxconn"))

    def cpus(self) -> int | None:
        """CPUs that the process may run on."""
        mask = self.status("Cpus_allowed").replace(",", "")
        return int(mask, 16).bit_count() if re.fullmatch("[0-9a-f]+", mask) else None

    def cpu_quota(self) -> float | None:
        """See :func:`cgroup_cpus`."""
        return cgroup_cpus(self.read, self._pid)

    def throttled(self) -> float:
        """The largest share of stopped periods in the process's cgroup and those above it."""
        shares = [0.0]
        for directory in cgroups("cpu", self.read, self._pid):
            counts = _counts(self.read(f"{directory}/cpu.stat"))
            if periods := counts.get("nr_periods", 0):
                shares.append(counts.get("nr_throttled", 0) / periods)
        return max(shares)

    def memory_limit(self) -> int | None:
        """The smallest limit of the process's cgroup and those above it."""
        limits = []
        for directory in cgroups("memory", self.read, self._pid):
            for name in ("memory.max", "memory.limit_in_bytes"):
                limit = _whole(self.read(f"{directory}/{name}"))
                if limit is not None and limit < NO_LIMIT:
                    limits.append(limit)
        return min(limits, default=None)

    def oom_kills(self) -> int:
        """How many processes the kernel has killed in the process's own cgroup; those above it hold other programs."""
        kills = 0
        for directory in cgroups("memory", self.read, self._pid):
            for name in ("memory.events", "memory.oom_control"):
                text = self.read(f"{directory}/{name}")
                kills = _counts(text).get("oom_kill", 0) if text is not None else kills
        return kills

    def memory_of(self, pid: int) -> int | None:
        """Bytes of a process; shared pages count in part, if the kernel tells (proc_pid_smaps_rollup(5))."""
        for path, name in ((f"/proc/{pid}/smaps_rollup", "Pss"), (f"/proc/{pid}/status", "VmRSS")):
            found = re.search(rf"^{name}:\s+(\d+) kB", self.read(path) or "", re.MULTILINE)
            if found is not None:
                return int(found[1]) * 1024
        return None

    def container(self) -> str:
        """The kind of container that the process runs in, if it does."""
        if "KUBERNETES_SERVICE_HOST" in self._variables:
            return "Kubernetes"
        if self.exists_inside("/.dockerenv"):
            return "Docker"
        return "Podman" if self.exists_inside("/run/.containerenv") else ""

    def init(self) -> str:
        """The name of process 1, as the process sees it; empty if it is process 1 itself."""
        own = (self.status("NSpid") or self._pid).split()[-1]
        return "" if own == "1" else (self.read_inside("/proc/1/comm") or "").strip()

    def is_root(self) -> bool:
        """Whether the process runs as root."""
        return self.status("Uid").split()[1:2] == ["0"]

    def shows_password(self) -> bool:
        """Whether the key's password stands in the command line."""
        return "--ssl-keyfile-password" in (self.read(f"/proc/{self._pid}/cmdline") or "")

    def debugging(self) -> tuple[str, ...]:
        """The variables that put Python into a debugging mode."""
        values = self._variables
        set_ = (name for name in DEBUGGING if values.get(name, "0") not in ("", "0"))
        return tuple(name for name in set_ if name != "PYTHONMALLOC" or "debug" in values[name])

    def unit(self) -> tuple[str, bool] | None:
        """The systemd service that the process belongs to, and whether it is one of a user's own services."""
        if "INVOCATION_ID" not in self._variables:
            return None
        found = None
        for line in (self.read(f"/proc/{self._pid}/cgroup") or "").splitlines():
            hierarchy, controllers, path = ([*line.split(":", 2), "", ""])[:3]
            services = [part for part in path.split("/") if part.endswith(".service")]
            if services and (hierarchy == "0" or controllers == "name=systemd"):
                found = services[-1], services[0].startswith("user@") and len(services) > 1
        return found


def collect(
    options: Options,
    pid: int,
    variables: Mapping[str, str],
    workers: Iterable[int] = (),
    *,
    root: str = "",
    stop_seconds: float | None = None,
    **known: Any,
) -> Environment:
    """The environment of the process ``pid`` and of its ``workers``; ``known`` is what the process itself has told.

    ``stop_seconds``: how long a stop may take, if the operator says so.
    """
    system = System(pid, variables, root)
    container = system.container()
    unit = system.unit()
    stop_time = systemd_time(*unit) if unit is not None else STOPS.get(container)
    if stop_seconds is not None:
        stop_time = StopTime(stop_seconds, "what stops the server, by --stop-time,", "give it {} s")
    return Environment(
        options,
        **known,
        open_files=system.open_files(),
        somaxconn=system.somaxconn(),
        cpus=system.cpus(),
        cpu_quota=system.cpu_quota(),
        throttled=system.throttled(),
        memory_limit=system.memory_limit(),
        worker_memory=max((size for worker in workers if (size := system.memory_of(worker)) is not None), default=None),
        oom_kills=system.oom_kills(),
        stop_time=stop_time,
        container=container,
        key_mode=mode_of(options.ssl_keyfile or options.ssl_certfile),
        certificate_left=certificate_left(options.ssl_certfile, time.time()),
        init=system.init(),
        is_root=system.is_root(),
        shows_password=system.shows_password(),
        debugging=system.debugging(),
    )


def systemd_time(unit: str, is_users: bool) -> StopTime | None:
    """How long systemd waits for ``unit`` to stop; None if it waits for ever, or does not say."""
    command = ["systemctl", *(["--user"] if is_users else []), "show", unit, "--property=TimeoutStopUSec"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_TIME, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    seconds = read_span(done.stdout.strip().removeprefix("TimeoutStopUSec="))
    return StopTime(seconds, f"systemd ({unit})", "TimeoutStopSec={} in the unit's [Service]") if seconds else None


def read_span(text: str) -> float | None:
    """Seconds of a span such as ``1min 30s`` (systemd.time(7)); None for ``infinity``."""
    parts = [re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", part) for part in text.split()]
    if not parts or not all(part is not None and part[2] in UNITS for part in parts):
        return None
    return sum(float(part[1]) * UNITS[part[2]] for part in parts if part is not None)


def mode_of(path: str | None) -> int | None:
    """The permissions of a file."""
    try:
        return os.stat(path).st_mode & 0o777 if path is not None else None
    except OSError:
        return None


def certificate_left(path: str | None, now: float) -> float | None:
    """Seconds until the certificate in a file ends."""
    text = read_file(path) if path is not None else None
    end = ends_at(text) if text is not None else None
    return end - now if end is not None else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None


def _counts(text: str | None) -> dict[str, int]:
    """The lines ``NAME COUNT`` of a file."""
    pairs = (line.split() for line in (text or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
