"""The doctor's checks. Each is a pure function of an :class:`Environment`, and returns what it finds, or None."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from .environment import Environment, Finding, Options

OWN_FILES = 64
"""Open files of a worker beside its connections: listeners, channel, logs, event loop, and some of the application's."""
KILL_MARGIN = 2
"""Seconds after the grace at which the supervisor kills what is left (``DRAIN_MARGIN`` in ``supervisor/phases.py``)."""
THROTTLED = 0.05
"""Share of stopped periods from which it hurts: with periods of 0.1 s, one request in twenty waits for the next period."""
MEMORY_SPARE = 0.95
"""Share of the memory limit that workers may fill: the supervisor and the kernel (socket buffers, page cache) need the rest."""
MIB = 1024 * 1024
DAY = 86400
RENEWED = 14
"""Days before its end at which a certificate should long have been renewed: ACME's clients do so a month before."""
SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"})
"""Programs that, as process 1, pass no signal on."""
LOOPBACK = ("127.", "::1", "localhost")
"""How the addresses begin that only the machine itself can reach."""
OWN_HOST = frozenset({"", "127.0.0.1", "::1", "localhost"})
"""What may stand in ``--forwarded-allow-ips`` without trusting another machine."""


def open_files(env: Environment) -> Finding | None:
    """Whether a worker can open as many files as connections may come at once."""
    options = env.options
    limit, name = max((options.backlog, "--backlog"), (options.limit_concurrency or 0, "--limit-concurrency"))
    if env.open_files is None or env.open_files >= limit + OWN_FILES:
        return None
    return Finding(
        "open files",
        f"a process may open {env.open_files} files, and {name} is {limit}",
        "every connection takes one; at the limit new connections wait, and the application can't open files either",
        "raise the hard limit: LimitNOFILE=65536 in the systemd unit, or ulimit -Hn 65536 before the start",
    )


def backlog(env: Environment) -> Finding | None:
    """Whether the kernel lets as many connections wait as ``--backlog`` says."""
    if env.somaxconn is None or env.somaxconn >= env.options.backlog:
        return None
    return Finding(
        "backlog",
        f"--backlog is {env.options.backlog}, but net.core.somaxconn allows {env.somaxconn}",
        "in a rush of connections the kernel drops those above it, and these clients wait a second or more to try again",
        f"sysctl -w net.core.somaxconn={env.options.backlog} (in a container: docker run --sysctl, or the pod's sysctls)",
    )


def workers(env: Environment) -> Finding | None:
    """Whether there is about one worker for each CPU."""
    if env.cpus is None:
        return None
    quota = env.cpu_quota if env.cpu_quota is not None else math.inf
    usable = max(1, min(env.cpus, round(quota) if quota < env.cpus else env.cpus))
    count = env.options.workers
    cause = f"the cgroup's quota allows {env.cpu_quota:g} CPUs" if quota < env.cpus else f"there are {_number(env.cpus, 'CPU')}"
    if count > 2 * usable:
        return Finding(
            "workers",
            f"{count} workers, but {cause}",
            "more workers than CPUs serve no faster: they take each other's time, which shows as latency, and need more memory",
            f"--workers {usable}, or --workers auto",
        )
    if count == 1 and usable > 1:
        return Finding(
            "workers",
            f"1 worker, and {cause}",
            "one worker uses one CPU, and while it is blocked or restarts, nobody answers",
            "--workers auto",
        )
    return None


def throttling(env: Environment) -> Finding | None:
    """Whether the cgroup was often stopped because its CPU quota was used up."""
    if env.throttled < THROTTLED:
        return None
    return Finding(
        "cpu quota",
        f"the cgroup was stopped in {env.throttled:.0%} of its periods, because its CPU quota was used up",
        "all workers stand still until the next period, up to 0.1 s each time",
        "raise the quota (Kubernetes: resources.limits.cpu; systemd: CPUQuota=), or set none",
    )


def memory(env: Environment) -> Finding | None:
    """Whether all workers fit into the cgroup's memory, also while some are being replaced."""
    if env.memory_limit is None:
        return None
    options = env.options
    count = options.workers + options.surge if options.workers else 1
    # The limit says how large a worker may become, and its size how large one is.
    allowed = options.limit_max_rss * MIB if options.limit_max_rss is not None else 0
    each = max(allowed, env.worker_memory or 0)
    if each == 0 or count * each <= env.memory_limit * MEMORY_SPARE:
        return None
    fits = int(env.memory_limit * MEMORY_SPARE / count / MIB)
    size = f"--limit-max-rss allows {each // MIB} MiB each" if allowed == each else f"the largest has {each // MIB} MiB"
    return Finding(
        "memory",
        f"{count} workers ({options.surge} of them while others are replaced): {size}, and the cgroup "
        f"allows {env.memory_limit // MIB} MiB for all",
        "at the limit the kernel kills a worker in the middle of its requests, most likely during a reload",
        f"raise the memory limit to {math.ceil(count * each / MEMORY_SPARE / MIB)} MiB, use fewer workers, "
        f"or --limit-max-rss {fits}",
    )


def oom(env: Environment) -> Finding | None:
    """Whether the kernel has killed a process because memory ran out."""
    if not env.oom_kills:
        return None
    times = "once" if env.oom_kills == 1 else f"{env.oom_kills} times"
    return Finding(
        "out of memory",
        f"the kernel has killed a process of this cgroup {times}, because the memory limit was reached",
        "the requests that it was answering are lost",
        "raise the memory limit, or let workers be replaced before: --limit-max-rss",
    )


def grace(env: Environment) -> Finding | None:
    """Whether a stop is given the time that it may take."""
    options, stop = env.options, env.stop_time
    needed = math.ceil(options.shutdown_delay + options.timeout_graceful_shutdown + KILL_MARGIN)
    if stop is None or stop.seconds >= needed:
        return None
    delay = f"--shutdown-delay {options.shutdown_delay:g} s and " if options.shutdown_delay else ""
    return Finding(
        "grace",
        f"{stop.set_by} kills after {stop.seconds:g} s, and a stop may take {needed} s "
        f"({delay}--timeout-graceful-shutdown {options.timeout_graceful_shutdown:g} s)",
        "requests that are still in flight then are cut off, and the application's shutdown does not run",
        stop.cure.replace("{}", str(needed)),
    )


def announced_stop(env: Environment) -> Finding | None:
    """Whether load balancers are told of a stop before it begins."""
    if env.container != "Kubernetes" or env.options.shutdown_delay:
        return None
    return Finding(
        "shutdown delay",
        "Kubernetes sends requests for some seconds after SIGTERM, and --shutdown-delay is 0",
        "in each rollout connections are refused until all nodes know that the pod leaves",
        "--shutdown-delay 8 --ready-path /ready, with /ready as the pod's readinessProbe",
    )


def trusted_by_all(env: Environment) -> Finding | None:
    """Whether any peer is trusted to name the client."""
    if "*" not in _trusted(env.options) or not any(is_public(address) for address in addresses(env.options)):
        return None
    return Finding(
        "proxies",
        "--forwarded-allow-ips is *, so everybody's X-Forwarded-For is trusted",
        "who reaches the port without the proxy can claim any address and https, in logs, limits and access rules",
        "name the proxy's network, for example --forwarded-allow-ips 10.0.0.0/8",
    )


def trusted_by_none(env: Environment) -> Finding | None:
    """Whether a proxy outside of the container is trusted."""
    options = env.options
    is_open = any(is_public(address) for address in addresses(options))
    if not env.container or not is_open or not options.proxy_headers or _trusted(options) - OWN_HOST:
        return None
    return Finding(
        "proxies",
        f"--forwarded-allow-ips is {options.forwarded_allow_ips}: no proxy outside this container is trusted",
        "if there is one, every client seems to be the proxy, and https seems to be http, in redirects, too",
        "name the proxy's network, for example --forwarded-allow-ips 10.0.0.0/8; without a proxy, --no-proxy-headers",
    )


def address(env: Environment) -> Finding | None:
    """Whether a container can be reached from outside."""
    listening = addresses(env.options)
    if not env.container or not listening or not all(address.startswith(LOOPBACK) for address in listening):
        return None
    return Finding(
        "address",
        f"the server listens on {', '.join(listening)}, inside a container",
        "nothing outside the container can connect, unless it shares the container's network",
        "--host 0.0.0.0",
    )


def key_file(env: Environment) -> Finding | None:
    """Whether others can read the private key."""
    path = env.options.ssl_keyfile or env.options.ssl_certfile
    if path is None or env.key_mode is None or not env.key_mode & 0o044:
        return None
    readers = "everybody" if env.key_mode & 0o004 else "its group"
    return Finding(
        "key file",
        f"{readers} on this machine can read the private key {path} (mode {env.key_mode:o})",
        "with the key, one can pretend to be this server",
        f"chmod 600 {path} (640 if the group has the service's user alone)",
    )


def certificate(env: Environment) -> Finding | None:
    """Whether the certificate ends soon."""
    left = env.certificate_left
    if left is None or left >= RENEWED * DAY:
        return None
    when = "has ended" if left <= 0 else f"ends in {_number(int(left // DAY), 'day')}"
    return Finding(
        "certificate",
        f"the certificate {env.options.ssl_certfile} {when}",
        "then no client connects any more, and its renewal seems to have failed",
        "renew it; the server takes the new file by itself, or after tricornctl reload",
    )


def password(env: Environment) -> Finding | None:
    """Whether ``ps`` shows the private key's password."""
    if not env.shows_password:
        return None
    return Finding(
        "key password",
        "--ssl-keyfile-password stands in the command line",
        "ps shows it to everybody on this machine",
        "set TRICORN_SSL_KEYFILE_PASSWORD in the service's environment instead",
    )


def event_loop(env: Environment) -> Finding | None:
    """Whether the faster event loop is missing."""
    if env.options.loop != "auto" or env.loop != "asyncio":
        return None
    return Finding(
        "event loop",
        "uvloop can't be imported, so --loop auto is asyncio's own loop",
        "each request takes more CPU time",
        "pip install 'tricorn[speed]'; to go without on purpose: --loop asyncio",
    )


def time_zone(env: Environment) -> Finding | None:
    """Whether the two logs have the same time zone."""
    options = env.options
    if not env.utc_offset or not options.access_log or "%(t)s" not in (options.access_log_format or ""):
        return None
    hours, minutes = divmod(abs(env.utc_offset) // 60, 60)
    return Finding(
        "time zone",
        f"the access log has local time (UTC{'-' if env.utc_offset < 0 else '+'}{hours:02}:{minutes:02}), all other lines UTC",
        "lines of one moment do not stand together; when summer time ends, an hour comes twice",
        "set TZ=UTC in the service's environment",
    )


def init(env: Environment) -> Finding | None:
    """Whether process 1 of the container passes SIGTERM on."""
    if not env.container or env.init not in SHELLS:
        return None
    return Finding(
        "process 1",
        f"process 1 of the container is {env.init}, and the server its child",
        f"SIGTERM goes to {env.init}, which does not pass it on: each stop lasts until SIGKILL, which cuts all requests off",
        'start the server as process 1: CMD ["tricorn", ...] with brackets, or exec tricorn ... in the script',
    )


def user(env: Environment) -> Finding | None:
    """Whether the application runs as root."""
    if not env.is_root or env.options.user not in (None, "root", "0"):
        return None
    return Finding(
        "user",
        "the application runs as root",
        "who finds a hole in the application has the whole machine, or the whole container",
        "--user www-data (in a container: USER 65534:65534; systemd: User=)",
    )


def development(env: Environment) -> Finding | None:
    """Whether the server is one for development."""
    if not env.options.reload:
        return None
    return Finding(
        "reload",
        "--reload is on",
        "a saved file replaces all workers at once, errors show the source code, and requests get 1 s to finish",
        "start without --reload, and deploy with tricornctl reload",
    )


def log_level(env: Environment) -> Finding | None:
    """Whether the log has far more than is needed."""
    if env.options.log_level != "trace":
        return None
    return Finding(
        "log level",
        "--log-level is trace",
        "every ASGI message writes a line, which costs CPU time and fills disks",
        "--log-level info",
    )


def debugging(env: Environment) -> Finding | None:
    """Whether Python runs in a debugging mode."""
    if not env.debugging:
        return None
    return Finding(
        "debugging",
        f"{', '.join(env.debugging)} is set in the server's environment",
        "Python and asyncio check themselves at every step, which makes requests several times slower",
        f"unset {' '.join(env.debugging)}",
    )


CHECKS: tuple[Callable[[Environment], Finding | None], ...] = (
    open_files,
    backlog,
    workers,
    throttling,
    memory,
    oom,
    grace,
    announced_stop,
    init,
    address,
    trusted_by_all,
    trusted_by_none,
    key_file,
    certificate,
    password,
    user,
    event_loop,
    time_zone,
    development,
    log_level,
    debugging,
)
"""All checks, in the order of the report."""


def examine(env: Environment) -> list[Finding]:
    """All that the checks find."""
    return [finding for check in CHECKS if (finding := check(env)) is not None]


def addresses(options: Options) -> list[str]:
    """The hosts that the server listens on; nothing for UNIX sockets and inherited ones."""
    if options.fd is not None or options.uds is not None:
        return []
    if options.bind:
        return list(_hosts(options.bind))
    return list(options.host)


def is_public(host: str) -> bool:
    """Whether other machines may reach it."""
    return not host.startswith(LOOPBACK)


def _hosts(binds: tuple[str, ...]) -> Iterator[str]:
    for bind in binds:
        if not bind.startswith(("unix:", "fd://")):
            yield bind.rpartition(":")[0].strip("[]")


def _trusted(options: Options) -> frozenset[str]:
    """The items of ``--forwarded-allow-ips``, if they count."""
    return frozenset(item.strip() for item in options.forwarded_allow_ips.split(",")) if options.proxy_headers else frozenset()


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
