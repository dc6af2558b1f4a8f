"""What the doctor reads of a system, from made-up roots of ``/proc`` and ``/sys/fs/cgroup``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from tricorn.config.options import DEFAULTS
from tricorn.control.doctor.collect import System, certificate_left, collect, read_span
from tricorn.control.doctor.environment import read_options

PID = 42
PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
V2 = "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = (
    "25 1 0:22 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "26 1 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max processes             63704                63704                processes
Max open files            1024                 4096                 files
"""


class Root:
    """A made-up root directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(f"/proc/{PID}/mountinfo", V2)
        self.write(f"/proc/{PID}/cgroup", "0::/\n")

    def write(self, path: str, text: str) -> None:
        file = Path(f"{self.path}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @property
    def system(self) -> System:
        return self.with_variables()

    def with_variables(self, **variables: str) -> System:
        return System(PID, variables, str(self.path))


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_limits_of_the_process_and_of_the_network(root: Root) -> None:
    root.write(f"/proc/{PID}/limits", LIMITS)
    root.write("/proc/sys/net/core/somaxconn", "128\n")
    root.write(f"/proc/{PID}/status", "Name:\ttricorn\nUid:\t33\t0\t33\t33\nCpus_allowed:\tff,00000003\nNSpid:\t42\n")
    assert root.system.open_files() == 4096
    assert root.system.somaxconn() == 128
    assert root.system.cpus() == 10
    assert root.system.is_root()


def test_cgroup_v2_counts_what_is_above_the_process_too(root: Root) -> None:
    root.write(f"/proc/{PID}/cgroup", "0::/shop/web\n")
    root.write("/sys/fs/cgroup/shop/memory.max", "536870912\n")
    root.write("/sys/fs/cgroup/shop/web/memory.max", "max\n")
    root.write("/sys/fs/cgroup/shop/web/memory.events", "low 0\nmax 7\noom 3\noom_kill 2\n")
    root.write("/sys/fs/cgroup/memory.events", "oom_kill 9\n")
    root.write("/sys/fs/cgroup/shop/cpu.max", "150000 100000\n")
    root.write("/sys/fs/cgroup/shop/cpu.stat", "usage_usec 5\nnr_periods 200\nnr_throttled 50\n")
    assert root.system.memory_limit() == 512 * 1024 * 1024
    assert root.system.oom_kills() == 2
    assert root.system.cpu_quota() == 1.5
    assert root.system.throttled() == 0.25


def test_cgroup_v1(root: Root) -> None:
    root.write(f"/proc/{PID}/mountinfo", V1)
    root.write(f"/proc/{PID}/cgroup", "4:memory:/shop\n3:cpu,cpuacct:/shop\n")
    root.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    root.write("/sys/fs/cgroup/memory/shop/memory.limit_in_bytes", "1048576\n")
    root.write("/sys/fs/cgroup/memory/shop/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    root.write("/sys/fs/cgroup/cpu,cpuacct/shop/cpu.cfs_quota_us", "200000\n")
    root.write("/sys/fs/cgroup/cpu,cpuacct/shop/cpu.cfs_period_us", "100000\n")
    assert root.system.memory_limit() == 1048576
    assert root.system.oom_kills() == 1
    assert root.system.cpu_quota() == 2


def test_no_limit_is_none(root: Root) -> None:
    root.write(f"/proc/{PID}/mountinfo", V1)
    root.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert root.system.memory_limit() is None
    assert root.system.cpu_quota() is None
    assert root.system.throttled() == 0


@pytest.mark.parametrize(
    ("variable", "file", "kind"),
    [
        ("KUBERNETES_SERVICE_HOST", "/.dockerenv", "Kubernetes"),
        ("A", "/.dockerenv", "Docker"),
        ("A", "/run/.containerenv", "Podman"),
        ("A", "/etc/hostname", ""),
    ],
)
def test_containers(root: Root, variable: str, file: str, kind: str) -> None:
    root.write(file, "")
    assert root.with_variables(**{variable: "10.0.0.1"}).container() == kind


def test_process_1_is_that_of_the_servers_own_namespace(root: Root) -> None:
    root.write("/proc/1/comm", "systemd\n")
    root.write(f"/proc/{PID}/root/proc/1/comm", "sh\n")
    root.write(f"/proc/{PID}/status", "NSpid:\t42\t7\n")
    assert root.system.init() == "sh"
    root.write(f"/proc/{PID}/status", "NSpid:\t42\t1\n")
    assert root.system.init() == ""


def test_memory_is_the_proportional_share_where_the_kernel_tells(root: Root) -> None:
    root.write("/proc/50/status", "VmRSS:\t   300 kB\n")
    assert root.system.memory_of(50) == 300 * 1024
    root.write("/proc/50/smaps_rollup", "Rss:                 300 kB\nPss:                 100 kB\n")
    assert root.system.memory_of(50) == 100 * 1024
    assert root.system.memory_of(51) is None


def test_variables_that_debug_python(root: Root) -> None:
    system = root.with_variables(PYTHONDEVMODE="1", PYTHONASYNCIODEBUG="0", PYTHONMALLOC="pymalloc", PYTHONTRACEMALLOC="")
    assert system.debugging() == ("PYTHONDEVMODE",)


def test_a_password_in_the_command_line(root: Root) -> None:
    root.write(f"/proc/{PID}/cmdline", "tricorn\0--ssl-keyfile-password=secret\0")
    assert root.system.shows_password()


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/shop.service\n", ("shop.service", False)),
        ("1:name=systemd:/system.slice/shop.service\n0::/\n", ("shop.service", False)),
        ("0::/user.slice/user-7.slice/user@7.service/app.slice/shop.service\n", ("shop.service", False)),
        ("0::/user.slice/user-7.slice/session-3.scope\n", None),
        ("7:pids:/system.slice/shop.service\n", None),
    ],
)
def test_the_unit_is_read_from_the_cgroup(root: Root, cgroup: str, unit: tuple[str, bool] | None) -> None:
    root.write(f"/proc/{PID}/cgroup", cgroup)
    found = root.with_variables(INVOCATION_ID="1234").unit()
    assert (found and found[0]) == (unit and unit[0])
    assert found is None or found[1] == ("user@" in cgroup)


def test_a_cgroup_alone_is_no_service(root: Root) -> None:
    root.write(f"/proc/{PID}/cgroup", "0::/system.slice/cron.service\n")
    assert root.system.unit() is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1min 30s", 90), ("40s", 40), ("500ms", 0.5), ("1h 5min", 3900), ("infinity", None), ("", None), ("5 parsecs", None)],
)
def test_spans_of_systemd(text: str, seconds: float | None) -> None:
    assert read_span(text) == seconds


def test_nothing_readable_is_an_environment_without_figures(tmp_path: Path) -> None:
    env = collect(read_options(DEFAULTS), PID, {}, [50], root=str(tmp_path))
    assert (env.open_files, env.somaxconn, env.cpus, env.memory_limit, env.worker_memory) == (None,) * 5
    assert env.stop_time is None


def test_a_stop_time_that_is_told_takes_the_place_of_one_that_is_supposed(root: Root) -> None:
    root.write("/.dockerenv", "")
    supposed, told = (
        collect(read_options(DEFAULTS), PID, {}, root=str(root.path), stop_seconds=seconds).stop_time
        for seconds in (None, 45.0)
    )
    assert supposed is not None
    assert supposed.seconds == 10
    assert told is not None
    assert told.seconds == 45


@pytest.mark.parametrize("days", [1, 400, 30_000])
def test_the_end_of_a_certificate(tmp_path: Path, days: int) -> None:
    # Beyond 2049 the time is written otherwise (RFC 5280 section 4.1.2.5).
    end = datetime(2026, 11, 29, 12, 30, 15, tzinfo=UTC) + timedelta(days=days)
    made = trustme.CA().issue_cert("localhost", not_before=end - timedelta(days=days + 1), not_after=end)
    file = tmp_path / "chain.pem"
    made.private_key_and_cert_chain_pem.write_to_path(str(file))
    assert certificate_left(str(file), end.timestamp() - 60) == 60


@pytest.mark.parametrize(
    "text", ["", "nonsense", PEM.format(""), PEM.format("MA=="), PEM.format("MIIB"), PEM.format("A" * 400)]
)
def test_what_is_no_certificate_has_no_end(tmp_path: Path, text: str) -> None:
    file = tmp_path / "chain.pem"
    file.write_text(text)
    assert certificate_left(str(file), 0) is None
    assert certificate_left(str(tmp_path / "none"), 0) is None
    assert certificate_left(None, 0) is None
