"""What the machine says of the workers: memory samples and the cgroup's count of OOM kills."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tricorn.supervisor.messages import Recycle
from tricorn.supervisor.resources import MIB, MemorySampler, OomKills, oom_counters, resident_memory


def test_two_samples_in_a_row_above_the_limit_are_needed() -> None:
    sizes = iter([200, 90, 200, 201])
    sampler = MemorySampler(every=5.0, measure=lambda pid: next(sizes) * MIB)
    assert sampler.next_deadline(limited=True, now=100.0) == 105.0
    told = [sampler.sample({1: (4711, 100)}, now) for now in (105.0, 110.0, 115.0, 120.0)]
    assert told == [[], [], [], [Recycle(1, "uses 201 MiB, more than --limit-max-rss 100 MiB")]]


def test_nothing_is_measured_before_it_is_due_nor_without_a_limit() -> None:
    sampler = MemorySampler(every=5.0, measure=lambda pid: pytest.fail("measured"))
    assert sampler.next_deadline(limited=False, now=0.0) is None
    sampler.next_deadline(limited=True, now=100.0)
    assert sampler.sample({1: (4711, 100)}, now=104.9) == []


def test_a_process_that_is_gone_has_no_size() -> None:
    assert (resident_memory(os.getpid()) or 0) > MIB
    assert resident_memory(2**22 + 1) is None


@pytest.mark.parametrize(
    ("membership", "first"),
    [
        ("0::/system.slice/app.service\n", "system.slice/app.service/memory.events"),
        ("9:name=systemd:/\n4:memory:/docker/abc\n0::/\n", "memory/docker/abc/memory.oom_control"),
        ("0::/\n", "memory.events"),
    ],
)
def test_where_the_kernel_counts(membership: str, first: str) -> None:
    assert oom_counters(membership, "/sys/fs/cgroup")[0] == f"/sys/fs/cgroup/{first}"


def test_each_oom_kill_is_blamed_once(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 3\noom_kill 2\n")
    kills = OomKills([str(tmp_path / "missing"), str(counter)])
    assert not kills.take()
    counter.write_text("low 0\noom 5\noom_kill 4\n")
    assert [kills.take() for _ in range(3)] == [True, True, False]


def test_without_a_counter_nobody_is_blamed(tmp_path: Path) -> None:
    assert not OomKills([str(tmp_path / "missing")]).take()
