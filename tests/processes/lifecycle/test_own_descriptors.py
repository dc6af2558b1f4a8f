"""No child of the supervisor holds a descriptor that only the supervisor may hold."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from support.harness import Server, children_of

MEMORY = ("memfd:tricorn-counts (deleted)", "memfd:tricorn-scoreboard (deleted)")
MEANT = (*MEMORY, "memfd:tricorn-report (deleted)")
"""Files without names that a worker shares with the supervisor: shared memory, and those for its reports."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def held_by(pid: int) -> dict[tuple[int, int], str]:
    """What the process ``pid`` has open beside its standard streams: device and inode, with what it is."""
    held = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        found = os.stat(entry)
        name = os.readlink(entry)
        # All epoll objects and the like share one inode.
        if int(entry.name) > 2 and not name.startswith("anon_inode:"):
            held[found.st_dev, found.st_ino] = f"{entry.name} -> {name}"
    return held


def shared(one: int, other: int) -> set[str]:
    """What both processes have open."""
    ours, theirs = held_by(one), held_by(other)
    return {ours[inode] for inode in ours.keys() & theirs.keys()}


def count_epolls(pid: int) -> int:
    return sum(os.readlink(entry) == "anon_inode:[eventpoll]" for entry in Path(f"/proc/{pid}/fd").iterdir())


def test_children_share_nothing_with_the_supervisor_but_listeners(tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        options = [
            "--workers",
            "3",
            "--loop",
            "asyncio",
            "--pid-file",
            str(tmp_path / "pid"),
            "--hooks",
            "tests.apps.hooks:All",
        ]
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "HOOKS_TOLD": str(told)}
        with Server("tests.apps.probe:app", *options, env=env) as server:
            server.wait_for_ready(3)
            workers = server.serving()
            server.wait_until(lambda: "on_fleet_ready" in told.read_text())
            # A worker forked later could keep more than the first ones.
            os.kill(workers[0], signal.SIGKILL)
            server.wait_for_ready(4)
            workers = server.serving()
            assert len(workers) == 3
            for worker in workers:
                found = [name for name in shared(server.pid, worker) if not name.endswith(MEANT)]
                assert len(found) == 1, f"more than the listener, counts and reports is shared with a worker: {found}"
                # Its own event loop's, which it has twice (worker/line.py), and not the supervisor's.
                assert count_epolls(worker) == 2
                for other in set(workers) - {worker}:
                    # Neither has the other's reports.
                    assert len([name for name in shared(worker, other) if not name.endswith(MEMORY)]) == 1
            [runner] = set(children_of(server.pid)) - set(workers)
            assert [name for name in shared(server.pid, runner) if not name.endswith(MEMORY)] == []
