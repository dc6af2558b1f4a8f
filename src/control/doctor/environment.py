"""What the doctor looks at: the server's options, and the system around it, as frozen values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config.frozen import Value
from ...config.options import DEFAULTS


class Finding(Value):
    """One thing that will hurt in production."""

    check: str
    """The name of the check, such as ``open files``."""
    problem: str
    """What is wrong, with the figures."""
    why: str
    """What happens because of it."""
    cure: str
    """The one line that mends it."""


class Options(Value):
    """The options that the checks look at; see ``config/options.py``. None of them is a secret."""

    workers: int
    surge: int
    user: str | None
    host: tuple[str, ...]
    port: int
    bind: tuple[str, ...]
    uds: str | None
    fd: int | None
    backlog: int
    limit_concurrency: int | None
    limit_max_rss: int | None
    timeout_graceful_shutdown: float
    shutdown_delay: float
    reload: bool
    log_level: str
    access_log: bool
    access_log_format: str | None
    loop: str
    proxy_headers: bool
    forwarded_allow_ips: str
    ssl_certfile: str | None
    ssl_keyfile: str | None


def read_options(source: Mapping[str, Any]) -> Options:
    """The options of ``source``, which may have others, too. One that is missing has its default: an older server."""
    return Options(**{name: _frozen(source.get(name, DEFAULTS[name])) for name in Options.__match_args__})


def _frozen(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(value) if isinstance(value, list) else value


class StopTime(Value):
    """How long a server has from SIGTERM to SIGKILL."""

    seconds: float
    set_by: str
    """What kills it then, in words: systemd, Docker ..."""
    cure: str
    """How to give it more time; ``{}`` stands for the seconds."""


class Environment(Value):
    """A server and the system around it. None, and an empty text, mean that the system does not say."""

    options: Options
    loop: str = "uvloop"
    """The event loop that is used: ``uvloop``, ``asyncio``, or MODULE:ATTRIBUTE."""
    utc_offset: int = 0
    """Seconds from UTC to local time."""
    open_files: int | None = None
    """The hard limit of one process; the server raises its soft limit to that."""
    somaxconn: int | None = None
    cpus: int | None = None
    """By affinity."""
    cpu_quota: float | None = None
    """CPUs that the cgroups allow; None for no quota."""
    throttled: float = 0
    """The share of the quota's periods in which the cgroup was stopped."""
    memory_limit: int | None = None
    """Bytes that the cgroups allow."""
    worker_memory: int | None = None
    """Bytes of the largest worker; None without a running fleet."""
    oom_kills: int = 0
    """Processes of the cgroup that the kernel has killed because the memory limit was reached."""
    stop_time: StopTime | None = None
    container: str = ""
    """``Kubernetes``, ``Docker`` or ``Podman``."""
    key_mode: int | None = None
    """Permissions of the private key's file."""
    certificate_left: float | None = None
    """Seconds until the certificate ends."""
    init: str = ""
    """The name of the program that is process 1; empty if that is the server."""
    is_root: bool = False
    """Whether the server runs as root."""
    shows_password: bool = False
    """Whether the private key's password stands in the command line."""
    debugging: tuple[str, ...] = ()
    """Environment variables that put Python into a debugging mode."""
