"""What ps and top show of a supervisor and its workers."""

from __future__ import annotations

import psutil
import pytest
from support.harness import Server, wait_until


def test_processes_are_named_by_what_they_are() -> None:
    pytest.importorskip("setproctitle", reason="setproctitle is not installed")
    with Server("examples.hello:app", "--workers", "2") as server:
        supervisor = psutil.Process(server.pid)
        assert supervisor.cmdline()[0] == "tricorn: supervisor"
        expected = ["tricorn: worker 0", "tricorn: worker 1"]
        wait_until(lambda: sorted(worker.cmdline()[0] for worker in supervisor.children()) == expected)
