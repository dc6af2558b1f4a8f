"""``--workers 0``: systemd is told what a supervisor would tell it, and as process 1 no zombie stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import psutil
import pytest
from support.harness import Server, children_of, get, wait_until
from test_systemd import NotifySocket

APP = "tests.apps.orphans:app"
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def test_systemd_is_told(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path / "notify"))
    env = {"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "200000"}
    try:
        with Server(APP, "--workers", "0", env=env) as server:
            notify.wait_for("READY")
            assert get(server.port, "/child").body.startswith(b"3 4 ")
            for _ in range(10):
                notify.wait_for("WATCHDOG")
            server.send(signal.SIGTERM)
            notify.wait_for("STOPPING")
            assert server.wait_for_exit() == 0
    finally:
        notify.socket.close()


def test_systemd_is_not_told_of_a_start_that_failed(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path / "notify"))
    notify.socket.setblocking(False)
    try:
        server = Server("tests.apps.broken:app", "--workers", "0", env={"NOTIFY_SOCKET": notify.path}, listen=())
        server.command += ["--uds", str(tmp_path / "socket")]
        with server:
            assert server.wait_for_exit() == 3
        with pytest.raises(BlockingIOError):
            notify.socket.recv(4096)
    finally:
        notify.socket.close()


# -------------------------------------------------------------------------------------------------------------- process 1


def namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


in_namespace = pytest.mark.skipif(not namespaces_work(), reason="unshare can't make a namespace of processes here")


class FirstProcess(Server):
    """A server that is process 1 of a namespace of its own."""

    def __init__(self, *args: str) -> None:
        super().__init__(APP, *args)
        self.command = [*NAMESPACE, *self.command]

    def first(self) -> int:
        """Its pid out here."""
        return children_of(self.pid)[0]


def states(pid: int) -> list[str]:
    return [psutil.Process(child).status() for child in children_of(pid)]


@in_namespace
@pytest.mark.parametrize("workers", ["0", "1"])
def test_orphans_are_reaped_and_children_are_not_taken_away(workers: str) -> None:
    with FirstProcess("--workers", workers) as server:
        wait_until(lambda: len(children_of(server.first())) == 1)
        for _ in range(3):
            assert get(server.port, "/orphan").body.strip().isdigit()
            assert get(server.port, "/child").body.startswith(b"3 4 ")
        wait_until(lambda: len(states(server.first())) == 1, what="zombies stay")
        assert psutil.STATUS_ZOMBIE not in states(server.first())
        os.kill(server.first(), signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert server.log.count("lifespan shutdown") == 1


@in_namespace
def test_process_1_finishes_what_is_in_flight() -> None:
    with FirstProcess("--workers", "0") as server:
        wait_until(lambda: len(children_of(server.first())) == 1)
        answers: list[bytes] = []
        asking = threading.Thread(target=lambda: answers.append(get(server.port, "/slow").body))
        asking.start()
        connected = psutil.Process(children_of(server.first())[0])
        wait_until(lambda: any(one.status == psutil.CONN_ESTABLISHED for one in connected.net_connections()))
        os.kill(server.first(), signal.SIGTERM)
        asking.join(30)
        assert answers == [b"1"]
        assert server.wait_for_exit() == 0


@in_namespace
def test_the_exit_code_of_a_server_that_was_killed() -> None:
    with FirstProcess("--workers", "0") as server:
        wait_until(lambda: len(children_of(server.first())) == 1)
        os.kill(children_of(server.first())[0], signal.SIGKILL)
        assert server.wait_for_exit() == 128 + signal.SIGKILL
