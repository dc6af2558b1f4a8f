"""Workers that write to the supervisor, to the scoreboard and to their report what they must not; with real processes.

Throughout the supervisor answers signals, keeps its size, says little, and replaces the worker.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support.harness import Server, get, pass_time, raw_connection, run_tricorn, send_request

HOSTILE = "tests.apps.hostile:app"
BOUND = 3.0
"""Seconds in which a signal must be answered: thirty times the promise, for machines under load."""


class Prober:
    """Sends a signal that changes nothing (a fleet of one can't be smaller) again and again, and measures the answers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.times: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            before = self.server.log.count("Now 1 worker")
            begun = time.monotonic()
            with suppress(ProcessLookupError):
                self.server.send(signal.SIGTTOU)
            while self.server.log.count("Now 1 worker") == before and time.monotonic() - begun < 10 * BOUND:
                time.sleep(0.002)
            self.times.append(time.monotonic() - begun)


@contextmanager
def watched(server: Server) -> Iterator[None]:
    """Signals are answered, and the supervisor neither grows nor says much."""
    supervisor = psutil.Process(server.pid)
    size, said = supervisor.memory_info().rss, len(server.log)
    with Prober(server) as prober:
        yield
    print(f"{len(prober.times)} signals, the slowest answer {max(prober.times) * 1000:.0f} ms")
    assert max(prober.times) < BOUND
    assert supervisor.memory_info().rss - size < 32 << 20
    log = server.log[said:].replace("INFO:     Now 1 worker\n", "")
    assert len(log) < 300_000
    assert not re.search(r"[^\n -~]", log), "what a terminal obeys is in the log"
    assert "Traceback" not in log


def attack(server: Server, name: str) -> None:
    with raw_connection(server.port) as connection:
        send_request(connection, f"/{name}")
        with suppress(OSError):
            # The answer, or the end of the worker; one that hangs gives neither.
            connection.settimeout(0.5)
            connection.recv(1000)


CHANNEL = [
    *("nested", "nested_field", "wrong_type", "no_kind", "terminal", "ready_again", "long_line", "long_error", "retire_flood"),
    *("flood_of_bytes", "drops", "noise"),
]


def test_what_a_worker_writes_to_the_supervisor_is_its_fault_and_nobody_elses() -> None:
    with Server(HOSTILE, "--no-access-log") as server:
        server.wait_for_workers(1)
        with watched(server):
            for count, name in enumerate(CHANNEL, start=1):
                attack(server, name)
                line = server.wait_for_log(r"Worker 0 \[(\d+)\] wrote to the supervisor .*; killed; to be replaced .*", count)
                assert len(line.group(0)) < 400
                server.wait_for_ready(count + 1)
                assert get(server.port).status == 200
        assert server.log.count("wrote to the supervisor") == len(CHANNEL)
        assert server.stop() == 0


@pytest.mark.parametrize("name", ["close", "shut", "over"])
def test_a_worker_that_closes_its_channel_is_replaced(name: str) -> None:
    with Server(HOSTILE, "--no-access-log") as server:
        server.wait_for_workers(1)
        attack(server, name)
        server.wait_for_log("to be replaced|drained")
        server.wait_for_ready(2)
        assert get(server.port).status == 200
        assert server.stop() == 0


def test_a_worker_that_reads_no_order_drains_all_the_same() -> None:
    with Server(HOSTILE, "--no-access-log", "--workers", "1", "--timeout-graceful-shutdown", "300") as server:
        server.wait_for_workers(1)
        attack(server, "swallow")
        assert server.stop() == 0
        assert "does not answer the order to drain" in server.log
        assert "drained: exit code 0" in server.log


@pytest.mark.parametrize("name", ["nan", "large", "random"])
def test_nonsense_on_the_scoreboard_stops_nobody(name: str) -> None:
    with Server(HOSTILE, "--no-access-log", "--workers", "2", "--timeout-worker-healthcheck", "4") as server:
        before = server.wait_for_workers(2)
        size = len(server.log)
        attack(server, name)
        begun, answered = time.monotonic(), set()
        # As long as the worker writes, and a while longer, so that the other one's beats are missed if they could be.
        while time.monotonic() - begun < 8:
            answered.add(int(get(server.port).body))
            pass_time(0.01)
        assert len(answered) == 2, "a worker stopped accepting"
        assert server.workers() == before, "a worker was killed for what another one wrote"
        assert len(server.log) - size < 2000, server.log
        assert server.stop() == 0


@pytest.mark.parametrize("name", ["immortal", "fill", "stretch", "swap"])
def test_a_hung_worker_can_neither_hide_nor_flood(name: str) -> None:
    with Server(HOSTILE, "--no-access-log", "--timeout-worker-healthcheck", "2") as server:
        server.wait_for_workers(1)
        with watched(server):
            attack(server, name)
            server.wait_for_log("hung: its event loop did not turn for 2 s; killed")
            server.wait_for_ready(2)
        assert get(server.port).status == 200
        assert server.stop() == 0


def test_a_start_that_fails_with_a_long_error_is_told_in_short(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("raise RuntimeError('begin' + '\\x1b[31m' * 10_000_000 + 'end')\n")
    done = run_tricorn("long:app", "--port", "0", "--app-dir", str(tmp_path), "--workers", "2")
    assert done.returncode == 3
    assert len(done.stderr) < 200_000
    assert "\x1b" not in done.stderr
    assert "end" in done.stderr
    assert "long.py" in done.stderr
