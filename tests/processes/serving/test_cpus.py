"""How many CPUs ``--workers auto`` finds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tricorn.config.cpus import cgroup_cpus

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw,mode=755\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
)
UNIT = "system.slice/shop.service"


def v1(quota: str, period: str = "100000") -> dict[str, str]:
    return {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("mounts", "membership", "files", "cpus"),
    [
        ("", "", {}, None),
        (V2, "0::/\n", {}, None),
        # A container with a namespace of its own sees its quota at the root.
        (V2, "0::/\n", {"": {"cpu.max": "max 100000\n"}}, None),
        (V2, "0::/\n", {"": {"cpu.max": "150000 100000\n"}}, 1.5),
        (V2, "0::/\n", {"": {"cpu.max": "50000 100000\n"}}, 0.5),
        # CPUQuota= in a unit, and in the slice above it.
        (V2, f"0::/{UNIT}\n", {UNIT: {"cpu.max": "200000 100000\n"}}, 2.0),
        (V2, f"0::/{UNIT}\n", {UNIT: {"cpu.max": "max 100000\n"}, "system.slice": {"cpu.max": "300000 100000\n"}}, 3.0),
        (V2, f"0::/{UNIT}\n", {UNIT: {"cpu.max": "40000 10000"}, "system.slice": {"cpu.max": "300000 100000"}}, 3.0),
        (V2, "0::/user.slice/me\n", {UNIT: {"cpu.max": "200000 100000\n"}}, None),
        # A container without a namespace: the host's path, of which it sees what is below its own root.
        (V2.replace(" / ", " /docker/42 ", 1), "0::/docker/42\n", {"": {"cpu.max": "100000 100000"}}, 1.0),
        (V2.replace(" / ", " /docker/42 ", 1), "0::/docker/42/inner\n", {"inner": {"cpu.max": "100000 100000"}}, 1.0),
        (V2.replace(" / ", " /docker/42 ", 1), "0::/docker/421\n", {"1": {"cpu.max": "1 1"}, "": {"cpu.max": "4 1"}}, 4.0),
        (V2, "0::/../other\n", {"": {"cpu.max": "100000 100000"}, "other": {"cpu.max": "1 100"}}, 1.0),
        (V1, "4:cpu,cpuacct:/\n0::/\n", {"cpu,cpuacct": v1("200000")}, 2.0),
        (V1, "4:cpu,cpuacct:/\n0::/\n", {"cpu,cpuacct": v1("-1")}, None),
        (V1, f"5:cpuset:/a\n4:cpu,cpuacct:/{UNIT}\n", {f"cpu,cpuacct/{UNIT}": v1("200000"), "cpuset/a": v1("1")}, 2.0),
        (V1, "4:cpu,cpuacct:/a/b\n", {"cpu,cpuacct/a": v1("100000"), "cpu,cpuacct/a/b": v1("-1")}, 1.0),
        # Both at once, and the quotas in v1.
        (V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"), f"4:cpu,cpuacct:/a\n0::/{UNIT}\n",
         {"cpu,cpuacct/a": v1("100000"), f"unified/{UNIT}": {"cgroup.procs": ""}}, 1.0),
        (V2.replace("/sys/fs/cgroup", r"/odd\040place"), "0::/\n", {}, None),
        (V2, "0::/\n", {"": {"cpu.max": "nonsense"}}, None),
        (V2, "0::/\n", {"": {"cpu.max": "1 0"}}, None),
        ("rubbish\n - \n", "rubbish", {}, None),
    ],
)  # fmt: skip
def test_the_tightest_quota(mounts: str, membership: str, files: dict[str, dict[str, str]], cpus: float | None) -> None:
    known = {"/proc/self/mountinfo": mounts, "/proc/self/cgroup": membership}
    for directory, content in files.items():
        known |= {"/".join(filter(None, ("/sys/fs/cgroup", directory, name))): text for name, text in content.items()}
    assert cgroup_cpus(known.get) == cpus


@pytest.fixture
def nested() -> Iterator[tuple[Path, bool]]:
    """Two cgroups, one in the other, that can limit CPU time; and whether they are of version 1."""
    version1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists()
    outer = Path("/sys/fs/cgroup/cpu" if version1 else "/sys/fs/cgroup") / f"tricorn-test-{os.getpid()}"
    made: list[Path] = []
    try:
        for directory in (outer, outer / "inner"):
            directory.mkdir()
            made.append(directory)
        if not (outer / ("cpu.cfs_quota_us" if version1 else "cpu.max")).exists():
            pytest.skip("cgroups have no CPU controller here")
    except OSError as error:
        pytest.skip(f"cgroups can't be made here: {error}")
    else:
        yield outer, version1
    finally:
        for directory in reversed(made):
            directory.rmdir()


@pytest.mark.parametrize("quota", [1, 2])
def test_a_real_quota_of_the_cgroup_above(nested: tuple[Path, bool], quota: int) -> None:
    outer, version1 = nested
    if version1:
        (outer / "cpu.cfs_quota_us").write_text(f"{quota * 100_000}")
    else:
        (outer / "cpu.max").write_text(f"{quota * 100_000} 100000")
    code = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); "
    code += "from tricorn.config.cpus import cgroup_cpus; print(cgroup_cpus())"
    ended = subprocess.run([sys.executable, "-c", code, str(outer / "inner" / "cgroup.procs")], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, f"{float(quota)}\n"), ended.stderr
