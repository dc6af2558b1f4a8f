"""What watching costs while no file is saved."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.editing import Project, wait_until_watching, watcher_of
from support.harness import Server, cpu_time, pass_time, wait_until

PERIOD = 3.0
"""Seconds to measure over: a watcher that polled as rarely as this would still be found."""


def look_at(files: list[Path]) -> float:
    """Seconds of CPU time to look once at all ``files``, the least that polling takes; as busy as the machine is now."""

    def look() -> float:
        before = time.thread_time()
        for file in files:
            os.stat(file)
        return time.thread_time() - before

    return min(look() for _ in range(3))


def idle_cost(server: Server, period: float) -> float:
    """Seconds of CPU time that watcher and supervisor take in ``period``."""
    pids = [watcher_of(server), server.pid]
    before = cpu_time(pids)
    pass_time(period)
    return cpu_time(pids) - before


@contextmanager
def idle(project: Project, *options: str) -> Iterator[Server]:
    """A server of ``project`` that has done all that it does some seconds after its start."""
    with project.serve(*options) as server:
        wait_until_watching(server)
        server.wait_for_provision()
        yield server


def test_twenty_thousand_files_cost_nothing_while_none_is_saved(tmp_path: Path) -> None:
    project, files = Project(tmp_path), []
    for folder in range(100):
        for name, ending in ((f"package{folder}", "py"), (f"node_modules/package{folder}", "js")):
            (tmp_path / name).mkdir(parents=True)
            files += [tmp_path / name / f"file{number}.{ending}" for number in range(100)]
    for file in files:
        file.touch()
    watched = [file for file in files if file.suffix == ".py"]
    with idle(project) as server:
        # Other load makes each waking cost more, but not always so much.
        wait_until(lambda: idle_cost(server, PERIOD) < look_at(watched))
        project.write("two")
        server.wait_for_log("reloaded in")
    with idle(project, "--reload-poll") as server:
        assert idle_cost(server, PERIOD) > look_at(watched), "polling is not found: this test measures something else"
