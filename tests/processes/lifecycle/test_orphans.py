"""What becomes of processes that an application has started, when their worker is gone."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.harness import APPS, Server, children_of, get, is_alive, raw_connection, send_request, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process its descendants' orphans")

APP = "tests.apps.pool:app"


@contextmanager
def serve(app: str = APP, *options: str) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server whose worker has started processes, and their pids."""
    with Server(app, *options) as server:
        server.wait_for_ready(1)
        started = json.loads(get(server.port).body)
        try:
            yield server, started
        finally:
            if is_alive(started["daemon"]):
                os.kill(started["daemon"], signal.SIGKILL)


def wait_for_end(*pids: int) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), what=f"of {pids} some live")


def all_but_daemon(started: dict[str, Any]) -> list[int]:
    return [*started["pool"], started["stubborn"], started["program"]]


def check_no_zombies(server: Server) -> None:
    def zombies() -> list[int]:
        return [pid for pid in children_of(server.pid) if not is_alive(pid)]

    wait_until(lambda: not zombies(), what="zombies are left")


def test_they_end_when_their_worker_is_killed() -> None:
    with serve() as (server, started):
        os.kill(started["worker"], signal.SIGKILL)
        wait_for_end(*all_but_daemon(started))
        check_no_zombies(server)
        assert is_alive(started["daemon"]), "it has a session of its own"
        assert "that a worker has left behind" in server.log
        server.wait_for_ready(2)
        assert server.stop() == 0


def test_they_end_when_their_worker_crashes() -> None:
    with serve() as (server, started):
        with raw_connection(server.port) as connection:
            send_request(connection, "/exit")
            assert connection.recv(1) == b""
        wait_for_end(*all_but_daemon(started))
        server.wait_for_ready(2)
        wait_until(lambda: len(children_of(server.pid)) == 3, what="the new worker, and two daemons: one of each start")
        for pid in children_of(server.pid):
            if os.getsid(pid) != server.pid:
                os.kill(pid, signal.SIGKILL)
        check_no_zombies(server)
        assert server.stop() == 0


def test_they_end_when_their_worker_hangs() -> None:
    with serve(APP, "--timeout-worker-healthcheck", "2") as (server, started):
        with raw_connection(server.port) as connection:
            send_request(connection, "/hang")
            server.wait_for_log("hung")
        wait_for_end(*all_but_daemon(started))
        server.wait_for_ready(2)
        assert server.stop() == 0


def test_saves_leave_none_behind(tmp_path: Path) -> None:
    (tmp_path / "saved.py").write_text((APPS / "pool.py").read_text())
    options = ("--reload", "--app-dir", str(tmp_path), "--reload-dir", str(tmp_path))
    with serve("saved:app", *options) as (server, started):
        every = all_but_daemon(started)
        for count in (1, 2):
            with (tmp_path / "saved.py").open("a") as file:
                file.write("\n")
            server.wait_for_log("reloaded in", count)
            more = json.loads(get(server.port).body)
            every += all_but_daemon(more)
            os.kill(more["daemon"], signal.SIGKILL)
        wait_for_end(*every[: -len(all_but_daemon(started))])
        server.send(signal.SIGQUIT)
        assert server.wait_for_exit() == 0
        wait_for_end(*every)


def test_what_a_worker_leaves_that_ends_in_order_is_left_alone() -> None:
    """The application had its chance to end it."""
    with Server("tests.apps.has_children:app") as server:
        server.wait_for_ready(1)
        child = int(get(server.port).body)
        server.send(signal.SIGHUP)
        server.wait_for_log("drained: exit code 0")
        server.wait_for_log("Reload complete")
        assert is_alive(child)
        assert child in children_of(server.pid)
        os.kill(child, signal.SIGKILL)
        check_no_zombies(server)


def test_what_was_our_child_before_is_left_alone() -> None:
    """A shell starts something in the background, and then becomes the server, as scripts in containers do."""
    server = Server(APP)
    command = " ".join(server.command)
    server.command = ["bash", "-c", f"sleep 600 & echo helper $!; exec {command}", "--port"]
    with server:
        server.wait_for_ready(1)
        helper = int(server.wait_for_log(r"helper (\d+)")[1])
        started = json.loads(get(server.port).body)
        os.kill(started["worker"], signal.SIGKILL)
        wait_for_end(*all_but_daemon(started))
        assert is_alive(helper)
        os.kill(started["daemon"], signal.SIGKILL)


def test_they_are_not_named_like_workers() -> None:
    pytest.importorskip("setproctitle", reason="setproctitle is not installed")
    with serve() as (server, started):
        # One whose parent is gone already, too.
        grandchild = int(get(server.port, "/grandchild").body)
        titles = {psutil.Process(pid).cmdline()[0] for pid in (*started["pool"], grandchild)}
        assert titles == {"tricorn: process of the application (worker 0)"}


@pytest.mark.parametrize("options", [(), ("--reload",), ("--preload", "app")])
def test_a_python_without_ctypes_serves_and_adopts_none(options: tuple[str, ...], tmp_path: Path) -> None:
    """As one is that was built without libffi."""
    (tmp_path / "sitecustomize.py").write_text("import sys\n\nsys.modules['_ctypes'] = None\n")
    with Server("tests.apps.probe:app", *options, env={"PYTHONPATH": str(tmp_path)}) as server:
        worker = int(server.wait_until(lambda: get(server.port, "/pid").body))
        os.kill(worker, signal.SIGKILL)
        server.wait_until(lambda: is_answered_by_another(server, worker))
        if "--preload" in options:
            server.wait_for_log("--preload is given up")
        assert server.stop() == 0


def is_answered_by_another(server: Server, worker: int) -> bool:
    try:
        return int(get(server.port, "/pid").body) != worker
    except OSError:
        return False
