"""The admin listener on real processes: exact counters, probes that tell the truth, and clients that misbehave."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.admin import APP, QUICK, Admin, check_counters, serving
from support.harness import PATIENCE, Server, pass_time, raw_connection, wait_until


def test_counters_are_exact_and_never_run_backwards() -> None:
    check_counters(workers=3, kills=5, reloads=2, recycle_after=150)


def test_probes_tell_the_truth_while_every_worker_hangs() -> None:
    with serving("--workers", "2", "--timeout-worker-healthcheck", "3") as (server, admin), ExitStack() as clients:
        assert admin.ask("/livez")[0] == admin.ask("/readyz")[0] == 200
        server.wait_for_ready(2)
        for _ in range(12):
            client = clients.enter_context(raw_connection(server.port))
            client.sendall(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n")

        def is_told() -> bool:
            """All at once: a second later the workers are killed, and new ones are alive."""
            live, ready, metrics, workers = (
                admin.ask("/livez"),
                admin.ask("/readyz"),
                admin.metrics(),
                admin.status()["workers"],
            )
            assert all(worker["lag"] > 1 for worker in workers if worker["phase"] == "hung")
            told = live[0] == ready[0] == 503 and "no worker's event loop has turned for" in live[1]
            return told and metrics["tricorn_loop_lag_seconds"] > 1

        wait_until(is_told)


def test_a_blocked_worker_is_seen_to_have_a_request_in_flight() -> None:
    with serving() as (server, admin), raw_connection(server.port) as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: admin.status()["workers"][0]["in_flight"] == 1)
        assert admin.metrics()["tricorn_http_requests_in_flight"] == 1


def test_a_supervisor_that_does_not_turn_is_not_alive() -> None:
    with serving("--timeout-worker-healthcheck", "2") as (server, admin):
        os.kill(server.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: "the supervisor has not turned for" in admin.ask("/livez")[1])
            assert admin.ask("/livez")[0] == 503
            assert admin.ask("/metrics")[0] == admin.ask("/status")[0] == 200
        finally:
            os.kill(server.pid, signal.SIGCONT)
        wait_until(lambda: admin.ask("/livez")[0] == 200)


def test_the_admin_process_is_made_anew() -> None:
    with serving() as (server, admin):
        first = admin.pid(server)
        killed = time.monotonic()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: admin.try_to_ask("/livez")[0] == 200)
        assert time.monotonic() - killed < QUICK
        assert admin.pid(server) != first
        assert server.wait_for_log("The admin is gone")
        assert server.stop() == 0


def test_a_stop_that_is_delayed_is_announced() -> None:
    with serving("--shutdown-delay", "60", "--timeout-graceful-shutdown", "1") as (server, admin):
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: admin.ask("/readyz")[0] == 503)
        assert "stop was ordered" in admin.ask("/readyz")[1]
        assert admin.ask("/livez")[0] == 200
        assert admin.status()["supervisor"]["stage"] == "leaving"
        assert server.port


def test_ready_min() -> None:
    with serving("--workers", "2", "--ready-min", "3") as (_, admin):
        told = 503, "2 workers are ready, fewer than --ready-min 3\n"
        # Workers say that they are ready before the supervisor shows it.
        wait_until(lambda: admin.ask("/readyz")[:2] == told, what="two ready workers")


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/status", "POST", {}, 405),
        ("/metrics", "DELETE", {}, 405),
        ("/../../etc/passwd", "GET", {}, 404),
        ("/%2e%2e/status", "GET", {}, 404),
        ("/nothing", "GET", {}, 404),
        ("/", "GET", {"Host": "evil.example"}, 421),
        ("/status", "GET", {"Host": "evil.example:80"}, 421),
        ("/events", "GET", {"Host": "evil.example"}, 421),
        ("/metrics", "GET", {"Host": "prometheus.example"}, 200),
        ("/livez", "GET", {"Host": "probe"}, 200),
        ("/status", "GET", {"Host": "Ops.Example"}, 200),
        ("/status", "GET", {"Host": "[::1]:9"}, 200),
        ("/status", "HEAD", {}, 200),
    ],
)
def test_what_is_answered(shared: Admin, path: str, method: str, headers: dict[str, str], status: int) -> None:
    found, body, _ = shared.ask(path, method, headers)
    assert found == status
    assert method != "HEAD" or not body


@pytest.fixture(scope="module")
def shared() -> Iterator[Admin]:
    with serving("--admin-host", "ops.example") as (_, admin):
        yield admin


def test_the_page_is_self_contained(shared: Admin) -> None:
    status, body, headers = shared.ask("/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "http://" not in body.replace("http://www.w3.org/", "")
    assert "https://" not in body


def test_openmetrics_is_spoken_if_asked_for(shared: Admin) -> None:
    status, text, headers = shared.ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert "# TYPE tricorn_http_requests counter\n" in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say_of_the_metrics(shared: Admin) -> None:
    status, text, _ = shared.ask("/metrics")
    assert status == 200
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_events_bring_the_status_once_a_second(shared: Admin) -> None:
    with raw_connection(shared.port) as stream:
        stream.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while received.count(b"data: ") < 2:
            data = stream.recv(65536)
            assert data
            received += data
        event = json.loads(re.findall(rb"data: (.*)", received)[0])
        assert event["supervisor"]["ready"] == 1


def test_idle_clients_keep_nobody_out(shared: Admin) -> None:
    with ExitStack() as clients:
        idle = [clients.enter_context(raw_connection(shared.port)) for _ in range(500)]
        assert shared.ask("/livez")[0] == 200
        closed = 0
        for one in idle:
            one.setblocking(False)

        def closed_ones() -> int:
            nonlocal closed
            closed = 0
            for one in idle:
                try:
                    closed += one.recv(1, socket.MSG_PEEK) == b""
                except BlockingIOError:
                    pass
                except OSError:
                    closed += 1
            return closed

        # At once, and not when they have been idle for ten seconds.
        wait_until(lambda: closed_ones() >= 436, timeout=7, what="more than 64 connections are held")


def test_the_admins_own_requests_are_not_counted() -> None:
    with serving() as (_, admin):
        for _ in range(3):
            admin.ask("/status")
        assert not [name for name in admin.metrics() if name.startswith("tricorn_http_requests_total")]


def test_what_is_wrong_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Server(APP, "--admin-bind", address)
        server.start()
        try:
            assert server.process.wait(timeout=PATIENCE) == 1
            assert f"--admin-bind {address}" in server.log
            assert "Traceback" not in server.log
        finally:
            server.__exit__(None)


def test_a_unix_socket() -> None:
    path = f"/tmp/tricorn-admin-{os.getpid()}.sock"
    with Server(APP, "--admin-bind", f"unix:{path}") as server:
        server.wait_for_ready(1)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(QUICK)
            client.connect(path)
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0
    pass_time(0)
    assert not os.path.exists(path)
