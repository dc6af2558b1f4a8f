"""The admin listener for tests: its answers, and clients that count what they were answered."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from support.harness import PATIENCE, Server, wait_until

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


@dataclass
class Checked:
    """What :func:`check_counters` found."""

    answers: int = 0
    """That clients got."""
    counted: int = 0
    """What the server counted of the same methods and statuses."""
    failures: int = 0
    """Requests that got no answer: in flight at a kill."""
    exits: int = 0
    """Workers that are gone."""
    polls: int = 0
    """Of ``/metrics``."""


def counters(samples: dict[str, float]) -> dict[str, float]:
    """Those that may only grow."""
    return {name: value for name, value in samples.items() if re.match(r"\w+_(total|bucket|count|sum)\b", name)}


def check_counters(workers: int, kills: int, reloads: int, recycle_after: int) -> Checked:
    """Kill and reload a fleet under load; AssertionError if a counter runs backwards, or is not what the clients counted."""
    options = ("--workers", str(workers), "--limit-max-requests", str(recycle_after), "--timeout-graceful-shutdown", "5")
    with serving(*options) as (server, admin):
        checked = Checked()
        seen: dict[str, float] = {}

        def poll() -> None:
            nonlocal seen
            now = counters(admin.metrics())
            assert not {name: (value, now.get(name)) for name, value in seen.items() if now.get(name, -1) < value}
            seen = now
            checked.polls += 1

        with Load(server.port, 6) as load:
            for number in range(kills + reloads):
                answered = load.answers.total()
                wait_until(lambda answered=answered: (poll(), load.answers.total() >= answered + 100)[1])
                # Spread over the kills.
                if (number + 1) * reloads // (kills + reloads) > number * reloads // (kills + reloads):
                    server.process.send_signal(signal.SIGHUP)
                else:
                    ready = admin.workers()
                    if ready:
                        os.kill(ready[0], signal.SIGKILL)
        wait_until(lambda: (poll(), [w["phase"] for w in admin.status()["workers"]] == ["ready"] * workers)[1])
        poll()
        for (method, status), client in load.answers.items():
            name = method if method != "BREW" else "other"
            server_side = seen[f'tricorn_http_requests_total{{method="{name}",status="{status}"}}']
            # A worker that is killed may have answered one request without having counted it; of what failed for the client
            # some was counted.
            assert client - kills <= server_side <= client + load.failures[method], (method, status, load.failures)
            checked.answers += client
            checked.counted += int(server_side)
        checked.failures = load.failures.total()
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
        assert exits == max(worker["id"] for worker in admin.status()["workers"]) - workers
        assert {'tricorn_worker_exits_total{reason="requests"}', 'tricorn_worker_exits_total{reason="reload"}'} <= seen.keys()
        assert 1 <= seen['tricorn_reloads_total{result="complete"}'] <= reloads
        checked.exits = int(exits)
        assert server.stop() == 0
    return checked
