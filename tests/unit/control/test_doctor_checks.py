"""The doctor's checks: each finds its broken environment, and nothing in a good one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tricorn.config.frozen import replace
from tricorn.config.options import DEFAULTS
from tricorn.control.doctor import checks
from tricorn.control.doctor.collect import STOPS
from tricorn.control.doctor.environment import Environment, Finding, StopTime, read_options

MIB = 1024 * 1024
DOCKER = STOPS["Docker"]
GOOD = Environment(
    read_options({**DEFAULTS, "workers": 4, "host": ("0.0.0.0",), "forwarded_allow_ips": "10.0.0.0/8", "shutdown_delay": 5}),
    open_files=524288,
    somaxconn=4096,
    cpus=4,
    cpu_quota=4.0,
    throttled=0.01,
    memory_limit=1024 * MIB,
    worker_memory=100 * MIB,
    stop_time=StopTime(45, "systemd (shop.service)", "TimeoutStopSec={} in the unit's [Service]"),
    container="Kubernetes",
    key_mode=0o600,
    init="tini",
)

Check = Callable[[Environment], Finding | None]

BROKEN: list[tuple[Check, dict[str, Any], dict[str, Any], str]] = [
    (checks.open_files, {"open_files": 1024}, {}, "may open 1024 files, and --backlog is 2048"),
    (checks.open_files, {"open_files": 4096}, {"limit_concurrency": 5000}, "--limit-concurrency is 5000"),
    (checks.backlog, {"somaxconn": 128}, {}, "net.core.somaxconn allows 128"),
    (checks.workers, {}, {"workers": 9}, "9 workers, but there are 4 CPUs"),
    (checks.workers, {"cpus": 64, "cpu_quota": 2.0}, {"workers": 64}, "64 workers, but the cgroup's quota allows 2 CPUs"),
    (checks.workers, {"cpu_quota": 0.5}, {"workers": 3}, "quota allows 0.5 CPUs"),
    (checks.workers, {}, {"workers": 1}, "1 worker, and there are 4 CPUs"),
    (checks.throttling, {"throttled": 0.25}, {}, "25% of its periods"),
    (checks.memory, {"worker_memory": 300 * MIB}, {}, "5 workers (1 of them while others are replaced): the largest has 300"),
    (checks.memory, {"worker_memory": None}, {"limit_max_rss": 512}, "--limit-max-rss allows 512 MiB each"),
    (checks.oom, {"oom_kills": 2}, {}, "killed a process of this cgroup 2 times"),
    (checks.grace, {"stop_time": DOCKER}, {}, "docker stop, by its default, kills after 10 s, and a stop may take 37 s"),
    (checks.grace, {}, {"timeout_graceful_shutdown": 60}, "--timeout-graceful-shutdown 60 s"),
    (checks.announced_stop, {}, {"shutdown_delay": 0}, "--shutdown-delay is 0"),
    (checks.init, {"init": "bash"}, {}, "process 1 of the container is bash"),
    (checks.address, {}, {"host": ("127.0.0.1", "::1")}, "listens on 127.0.0.1, ::1, inside a container"),
    (checks.address, {}, {"bind": ("localhost:80",)}, "listens on localhost"),
    (checks.trusted_by_all, {}, {"forwarded_allow_ips": "*"}, "--forwarded-allow-ips is *"),
    (checks.trusted_by_all, {}, {"forwarded_allow_ips": "10.0.0.1, *", "bind": ("unix:/run/a", "[::]:80")}, "is *"),
    (checks.trusted_by_none, {}, {"forwarded_allow_ips": "127.0.0.1,::1"}, "no proxy outside this container is trusted"),
    (checks.key_file, {"key_mode": 0o644}, {"ssl_keyfile": "/etc/key.pem"}, "everybody on this machine can read"),
    (checks.key_file, {"key_mode": 0o640}, {"ssl_certfile": "/etc/both.pem"}, "its group on this machine can read"),
    (checks.certificate, {"certificate_left": 13.5 * 86400}, {"ssl_certfile": "/etc/a.pem"}, "/etc/a.pem ends in 13 days"),
    (checks.certificate, {"certificate_left": -1.0}, {"ssl_certfile": "/etc/a.pem"}, "the certificate /etc/a.pem has ended"),
    (checks.password, {"shows_password": True}, {}, "stands in the command line"),
    (checks.user, {"is_root": True}, {}, "runs as root"),
    (checks.user, {"is_root": True}, {"user": "root"}, "runs as root"),
    (checks.event_loop, {"loop": "asyncio"}, {}, "uvloop can't be imported"),
    (checks.time_zone, {"utc_offset": 7200}, {"access_log_format": "%(t)s %(r)s"}, "local time (UTC+02:00)"),
    (checks.time_zone, {"utc_offset": -34200}, {"access_log_format": "%(t)s"}, "local time (UTC-09:30)"),
    (checks.development, {}, {"reload": True}, "--reload is on"),
    (checks.log_level, {}, {"log_level": "trace"}, "--log-level is trace"),
    (checks.debugging, {"debugging": ("PYTHONDEVMODE",)}, {}, "PYTHONDEVMODE is set"),
]

HARMLESS: list[tuple[Check, dict[str, Any], dict[str, Any]]] = [
    (checks.workers, {}, {"workers": 8}),
    (checks.workers, {"cpu_quota": 1.0}, {"workers": 1}),
    (checks.workers, {}, {"workers": 0}),
    (checks.memory, {"worker_memory": 1}, {"limit_max_rss": 150}),
    (checks.grace, {"stop_time": None}, {"timeout_graceful_shutdown": 900}),
    (checks.announced_stop, {"container": "Docker"}, {"shutdown_delay": 0}),
    (checks.init, {"container": "", "init": "bash"}, {}),
    (checks.address, {"container": ""}, {"host": ("127.0.0.1",)}),
    (checks.address, {}, {"uds": "/run/shop"}),
    (checks.address, {}, {"bind": ("127.0.0.1:80", "0.0.0.0:81")}),
    (checks.trusted_by_all, {}, {"forwarded_allow_ips": "*", "uds": "/run/shop"}),
    (checks.trusted_by_all, {}, {"forwarded_allow_ips": "*", "proxy_headers": False}),
    (checks.trusted_by_none, {"container": ""}, {"forwarded_allow_ips": "127.0.0.1"}),
    (checks.trusted_by_none, {}, {"forwarded_allow_ips": "127.0.0.1", "proxy_headers": False}),
    (checks.key_file, {"key_mode": 0o644}, {}),
    (checks.certificate, {"certificate_left": 20 * 86400.0}, {"ssl_certfile": "/etc/a.pem"}),
    (checks.user, {"is_root": True}, {"user": "www-data"}),
    (checks.event_loop, {"loop": "asyncio"}, {"loop": "asyncio"}),
    (checks.time_zone, {"utc_offset": 3600}, {}),
    (checks.time_zone, {"utc_offset": 3600}, {"access_log_format": "%(t)s", "access_log": False}),
]


def changed(environment: dict[str, Any], options: dict[str, Any]) -> Environment:
    return replace(GOOD, options=replace(GOOD.options, **options), **environment)


def test_nothing_is_found_in_a_good_environment() -> None:
    assert checks.examine(GOOD) == []


def test_nothing_is_found_where_nothing_is_known() -> None:
    assert checks.examine(Environment(GOOD.options)) == []


@pytest.mark.parametrize(("check", "environment", "options", "problem"), BROKEN)
def test_a_broken_environment_is_found(
    check: Check, environment: dict[str, Any], options: dict[str, Any], problem: str
) -> None:
    findings = checks.examine(changed(environment, options))
    finding = check(changed(environment, options))
    assert finding in findings
    assert finding is not None
    assert problem in finding.problem
    lines = [finding.check, finding.problem, finding.why, finding.cure]
    assert all(line and "\n" not in line for line in lines)


@pytest.mark.parametrize(("check", "environment", "options"), HARMLESS)
def test_what_is_harmless_is_not_found(check: Check, environment: dict[str, Any], options: dict[str, Any]) -> None:
    assert check(changed(environment, options)) is None


def test_every_check_has_a_broken_environment() -> None:
    assert {check for check, *_ in BROKEN} == set(checks.CHECKS)


@pytest.mark.parametrize("stop", [GOOD.stop_time, *STOPS.values()])
def test_a_cure_says_the_seconds_that_are_needed(stop: StopTime) -> None:
    finding = checks.grace(changed({"stop_time": stop}, {"timeout_graceful_shutdown": 90}))
    assert finding is not None
    assert "97" in finding.cure
    assert "{" not in finding.cure
