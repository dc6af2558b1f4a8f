"""The admin listener on real processes: exact counters, probes that tell the truth, and clients that misbehave."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest
from support.harness import PATIENCE, Server, pass_time, raw_connection, wait_until

APP = "tests.apps.counted:app"
QUICK = 5.0
"""Seconds in which the admin process answers. It takes some milliseconds; a busy machine may be far slower."""


class Admin:
    """A server's admin listener."""

    def __init__(self, server: Server) -> None:
        self.port = int(server.wait_for_log(r"Admin listener on http://[^:]*:(\d+)").group(1))

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=QUICK)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def try_to_ask(self, path: str) -> tuple[int, str]:
        """The same, also while the process is made anew; status 0 if it does not answer."""
        try:
            return self.ask(path)[:2]
        except (OSError, HTTPException):
            return 0, ""

    def metrics(self) -> dict[str, float]:
        """All samples, by name and labels."""
        status, text, _ = self.ask("/metrics")
        assert status == 200
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def status(self) -> dict[str, Any]:
        """What /status says."""
        found: dict[str, Any] = json.loads(self.ask("/status")[1])
        return found

    def workers(self) -> list[int]:
        """The pids of the ready workers."""
        return [worker["pid"] for worker in self.status()["workers"] if worker["phase"] == "ready"]

    def pid(self, server: Server) -> int:
        """The admin process itself: a child of the supervisor that is no worker."""
        known = {worker["pid"] for worker in self.status()["workers"]}
        return next(pid for pid in server.workers() if pid not in known)


@contextmanager
def serving(*args: str) -> Iterator[tuple[Server, Admin]]:
    with Server(APP, "--no-access-log", "--admin-bind", "127.0.0.1:0", *args) as server:
        server.wait_for_ready(1)
        yield server, Admin(server)


REQUESTS = [("GET", "/", 200), ("GET", "/?404", 404), ("POST", "/?201", 201), ("BREW", "/?503", 503), ("GET", "/wait", 200)]


class Load:
    """Clients that count their own answers."""

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.answers: Counter[tuple[str, int]] = Counter()
        self.failures: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, number: int) -> None:
        connection: HTTPConnection | None = None
        while not self._stop.is_set():
            method, path, status = REQUESTS[number % len(REQUESTS)]
            number += 1
            try:
                connection = connection or HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
                connection.request(method, path)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == status
                with self._lock:
                    self.answers[method, status] += 1
                if answer.will_close:
                    connection.close()
            except (OSError, HTTPException):
                with self._lock:
                    self.failures[method] += 1
                if connection is not None:
                    connection.close()
                connection = None


def counters(samples: dict[str, float]) -> dict[str, float]:
    """Those that may only grow."""
    return {name: value for name, value in samples.items() if re.match(r"\w+_(total|bucket|count|sum)\b", name)}


def test_counters_are_exact_and_never_run_backwards() -> None:
    kills, reloads = 5, 2
    with serving("--workers", "3", "--limit-max-requests", "150", "--timeout-graceful-shutdown", "5") as (server, admin):
        seen: dict[str, float] = {}

        def poll() -> None:
            nonlocal seen
            now = counters(admin.metrics())
            assert not {name: (value, now.get(name)) for name, value in seen.items() if now.get(name, -1) < value}
            seen = now

        with Load(server.port, 6) as load:
            for number in range(kills + reloads):
                answered = load.answers.total()
                wait_until(lambda answered=answered: (poll(), load.answers.total() >= answered + 100)[1])
                if number % 3 == 2:
                    server.process.send_signal(signal.SIGHUP)
                else:
                    workers = admin.workers()
                    if workers:
                        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: (poll(), [w["phase"] for w in admin.status()["workers"]] == ["ready"] * 3)[1])
        poll()
        for (method, status), client in load.answers.items():
            name = method if method != "BREW" else "other"
            server_side = seen[f'tricorn_http_requests_total{{method="{name}",status="{status}"}}']
            # A worker that is killed may have answered one request without having counted it; of what failed for the client
            # some was counted.
            assert client - kills <= server_side <= client + load.failures[method], (method, status, load.failures)
        for method in ("GET", "POST", "other"):
            total = sum(
                value for name, value in seen.items() if name.startswith(f'tricorn_http_requests_total{{method="{method}"')
            )
            assert seen[f'tricorn_http_request_duration_seconds_count{{method="{method}"}}'] == total
            assert seen[f'tricorn_http_request_duration_seconds_bucket{{method="{method}",le="+Inf"}}'] == total
        # A worker that is killed while it drains for another reason is counted by that.
        assert 1 <= seen['tricorn_worker_exits_total{reason="crash"}'] <= kills
        exits = sum(value for name, value in seen.items() if name.startswith("tricorn_worker_exits_total"))
        # Ids count the forks. Not all workers were ready once: a reload calls off those that are starting.
        assert exits == max(worker["id"] for worker in admin.status()["workers"]) - 3
        assert {'tricorn_worker_exits_total{reason="requests"}', 'tricorn_worker_exits_total{reason="reload"}'} <= seen.keys()
        assert 1 <= seen['tricorn_reloads_total{result="complete"}'] <= reloads
        assert server.stop() == 0


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
        status, text, _ = admin.ask("/readyz")
        assert (status, text) == (503, "2 workers are ready, fewer than --ready-min 3\n")


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
        idle = [clients.enter_context(raw_connection(shared.port)) for _ in range(200)]
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

        wait_until(lambda: closed_ones() >= 136, what="more than 64 connections are held")


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
