"""What upgrades promise: under load of every kind, as process 1, under systemd, with an admin listener."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.certificates import Authority
from support.control import ctl
from support.crowd import Crowd, by_tcp, by_unix
from support.harness import Server, children_of, get, wait_until
from support.upgrades import born, descriptors, memory, wait_for_upgrades

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")

PROBE = "tests.apps.probe:app"
MIXED = "tests.apps.mixed:app"
UPGRADES = int(os.environ.get("TEST_UPGRADES", "4"))
"""So many under load; by hand a hundred."""


def counted(server: Server) -> dict[str, float]:
    """All counters of the metrics that only grow."""
    lines = ctl(server, "metrics").stdout.splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples if "_total" in name or "_count" in name or "_bucket" in name}


def connected_clients(server: Server) -> int:
    """Connections of the supervisor itself: to clients of its control socket."""
    name = f"@tricorn/{server.pid}"
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    # Of a listener the state is 1, of a connection 3 (net/unix, proc(5)).
    return sum(row[-1] == name and row[5] == "03" for row in rows)


@pytest.mark.parametrize("tls", [False, True])
def test_under_load_nothing_fails_and_nothing_grows(tls: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    options = ["--ssl-certfile", certificate, "--ssl-keyfile", key] if tls else []
    listen = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}")
    pid_file = tmp_path / "pid"
    with Server(
        MIXED,
        "--workers",
        "2",
        "--no-access-log",
        "--ws-ping-interval",
        "600",
        "--pid-file",
        str(pid_file),
        *options,
        listen=listen,
    ) as server:
        port = int(server.wait_for_log(r"https?://127.0.0.1:(\d+)").group(1))
        server.wait_for_ready(2)
        began, workers = born(server.pid), server.workers()
        ways = {"TLS": by_tcp(port, authority.client())} if tls else {"TCP": by_tcp(port), "UNIX socket": by_unix(path)}
        with Crowd(ways) as crowd:
            before, used, opened = counted(server), list[int](), dict[str, int]()
            for number in range(1, UPGRADES + 1):
                server.send(signal.SIGUSR2)
                wait_for_upgrades(server, number)
                crowd.wait_for_more(2)
                used.append(memory(server.pid))
                after = counted(server)
                assert all(after[name] >= value for name, value in before.items())
                before = after
                if number == min(5, UPGRADES - 1):
                    # A program that was executed has opened what the first one opens later.
                    wait_until(lambda: not connected_clients(server))
                    opened = descriptors(server.pid)
            assert crowd.failures == []
        assert (born(server.pid), server.workers()) == (began, workers)
        # A client of the control socket may just be leaving.
        server.wait_until(lambda: descriptors(server.pid) == opened, what=f"other descriptors than {opened}")
        early, late = used[: len(used) // 2], used[len(used) // 2 :]
        assert min(late) - min(early) < 2**20, f"memory: {used}"
        print(f"answered: {sum(crowd.counts.values())}, {opened}, MiB: {[round(one / 2**20, 2) for one in used]}")
        # The pid file is still locked, and the socket's file is removed at the end.
        second = subprocess.run(
            [*server.command[:3], PROBE, "--port", "0", "--pid-file", str(pid_file)],
            capture_output=True,
            text=True,
            check=False,
            cwd=server.cwd,
            env=server.env,
        )
        assert "holds it and is alive" in second.stderr
        assert server.stop() == 0
        assert not os.path.exists(path)
        assert not pid_file.exists()


def test_systemd_is_told_of_a_reload_and_hears_signs_of_life_again(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        said: list[str] = []

        def wait_for(line: str) -> str:
            while True:
                lines = systemd.recv(4096).decode().splitlines()
                said.extend(lines)
                if line in lines:
                    return " ".join(lines)

        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with Server(PROBE, env=env) as server:
            wait_for("READY=1")
            for _ in range(UPGRADES // 2):
                said.clear()
                sent = time.monotonic() * 1e6
                server.send(signal.SIGUSR2)
                # systemd takes no older time for an answer to its signal (Type=notify-reload, systemd.service(5)).
                told = re.search(r"MONOTONIC_USEC=(\d+)", wait_for("RELOADING=1"))
                assert told is not None
                assert sent <= int(told[1]) <= time.monotonic() * 1e6
                assert "READY=1" not in said
                wait_for("WATCHDOG_USEC=60000000")
                assert "READY=1" not in said
                assert f"MAINPID={server.pid}" in wait_for("READY=1")
                if "WATCHDOG_USEC=2000000" not in said:
                    wait_for("WATCHDOG_USEC=2000000")
                wait_for("WATCHDOG=1")
                assert "STOPPING=1" not in said
            # What is refused is over, too.
            server.send(signal.SIGTERM)
            wait_for("STOPPING=1")
            assert server.wait_for_exit() == 0


def can_unshare() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "-pf", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no process namespaces are permitted here")
def test_as_process_1_of_a_namespace() -> None:
    server = Server(PROBE, "--workers", "2", "--control-socket", "none")
    server.command = ["unshare", "-pf", "--mount-proc", *server.command]
    with server:
        server.wait_for_ready(2)
        (inner,) = children_of(server.pid)
        workers = sorted(children_of(inner))
        for number in range(1, UPGRADES // 2 + 1):
            os.kill(inner, signal.SIGUSR2)
            wait_for_upgrades(server, number)
            assert get(server.port, "/pid").status == 200
        # The process that checked the last upgrade may not be reaped yet.
        wait_until(lambda: sorted(children_of(inner)) == workers)
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for_log("crashed: killed by SIGKILL")
        wait_until(lambda: len(children_of(inner)) == 2)
        os.kill(inner, signal.SIGTERM)
        assert server.wait_for_exit() == 0


def test_the_admin_listener_and_hooks_go_on(tmp_path: Path) -> None:
    admin, told = tmp_path / "admin", tmp_path / "told"
    env = {"HOOKS_TOLD": str(told)}
    with Server(PROBE, "--admin-bind", f"unix:{admin}", "--hooks", "tests.apps.hooks:All", env=env) as server:
        server.wait_for_ready(1)
        wait_until(lambda: told.exists() and "on_fleet_ready" in told.read_text())

        def ask(path: str) -> bytes:
            with by_unix(str(admin))() as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
                return answer

        assert ask("/readyz").startswith(b"HTTP/1.1 200")
        before = children_of(server.pid)
        for number in range(1, 3):
            server.send(signal.SIGUSR2)
            # At any moment there is somebody who answers.
            while "has taken over" not in server.log.partition("executing")[2]:
                assert ask("/livez").startswith(b"HTTP/1.1 200")
            wait_for_upgrades(server, number)
            assert ask("/readyz").startswith(b"HTTP/1.1 200")
        found = json.loads(ask("/status").partition(b"\r\n\r\n")[2])
        assert found["supervisor"]["ready"] == 1
        # The worker and the hook runner are the same; the admin process is another.
        wait_until(lambda: len(set(children_of(server.pid)) & set(before)) == 2 and len(children_of(server.pid)) == 3)
        assert server.stop() == 0
        assert told.read_text().count('"on_fleet_ready"') == told.read_text().count('"on_fleet_stopped"') == 1
