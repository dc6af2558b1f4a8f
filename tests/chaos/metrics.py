"""The promises of the metrics and the admin listener, at full size: some minutes, and figures to look at.

    in tests/:  python -m chaos.metrics            or some of them:  python -m chaos.metrics counters scrape

The suite has the same at a small size (``tests/processes/api``). Times are those of the machine: measure on an idle one.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

from support.admin import Admin, Load, check_counters, serving
from support.harness import Server, get, raw_connection, wait_until
from tricorn.admin.measures import Measures
from tricorn.config.options import Config
from tricorn.ipc.counts import RowWriter
from tricorn.ipc.published import Published
from tricorn.ipc.scoreboard import Scoreboard
from tricorn.metrics.exposition import expose
from tricorn.metrics.gather import gather
from tricorn.supervisor.admin.view import Exhibit, View
from tricorn.supervisor.control.status import Supervised

WORKERS = 64
RECYCLES = 10_000
PAIRS = [(method, status) for method in ("GET", "POST", "DELETE") for status in (200, 201, 304, 404, 500)]


def counters() -> str:
    """Twenty kills and ten reloads of four workers under load, each worker recycled after 300 requests."""
    found = check_counters(workers=4, kills=20, reloads=10, recycle_after=300)
    return (
        f"{found.answers} answers, {found.counted} counted, {found.failures} in flight at kills; "
        f"{found.exits} workers are gone; {found.polls} polls, no counter ran backwards"
    )


def app_metrics() -> str:
    """Five hundred recycled workers with --app-metrics."""
    options = ["--workers", "4", "--admin-bind", "127.0.0.1:0", "--app-metrics", "--limit-max-requests", "10", "--surge", "2"]
    with Server("tests.apps.counting:app", "--no-access-log", *options) as server:
        admin, asked, most = Admin(server), 0, 0
        server.wait_for_ready(4)
        directory = next(path for path in Path("/dev/shm").glob(f"tricorn-metrics-{server.pid}-*"))
        while (exits := admin.metrics()['tricorn_worker_exits_total{reason="requests"}']) < 500:
            for _ in range(100):
                asked += get(server.port, "/x?1").status == 200
            most = max(most, len(list(directory.iterdir())))
        wait_until(lambda: admin.metrics()['app_requests_total{path="/x"}'] == asked, what=f"{asked} requests")
        assert admin.metrics()["app_sizes_count"] == asked
        # Each worker has a file for counters, one for histograms, and one for each mode of gauges; so has the archive.
        wait_until(lambda: len(list(directory.iterdir())) <= 4 * 4 + 4)
        files = len(list(directory.iterdir()))
        assert server.stop() == 0
    return f"{exits:.0f} recycled, {asked} requests, all counted; {files} files at the end, {most} at most"


def strangers() -> str:
    """Five hundred idle connections and forbidden requests at the admin listener, beside load."""
    with serving("--workers", "2") as (server, admin), ExitStack() as clients, Load(server.port, 4) as load:
        for _ in range(500):
            clients.enter_context(raw_connection(admin.port))
        took = []
        for _ in range(20):
            began = time.perf_counter()
            assert admin.ask("/livez")[0] == 200
            took.append(time.perf_counter() - began)
        assert admin.ask("/metrics", "POST")[0] == admin.ask("/", "DELETE")[0] == 405
        paths = ("/../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/..%2fstatus", "/static/../../status")
        assert {admin.ask(path)[0] for path in paths} == {404}
        assert {admin.ask(path, headers={"Host": "evil.example"})[0] for path in ("/", "/status", "/events")} == {421}
        answered = load.answers.total()
        wait_until(lambda: load.answers.total() > answered + 100)
        open_ = len([None for name in os.listdir(f"/proc/{admin.pid(server)}/fd") if _is_socket(admin.pid(server), name)])
        assert open_ < 100
        assert not load.failures
    return f"a probe beside 500 idle connections: {1000 * max(took):.1f} ms at most; {open_} sockets open; no request failed"


def _is_socket(pid: int, name: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
    except OSError:
        return False


def hanging() -> str:
    """All workers in time.sleep(60)."""
    took: dict[str, float] = {}
    with serving("--workers", "2", "--timeout-worker-healthcheck", "10") as (server, admin), ExitStack() as clients:
        server.wait_for_ready(2)
        # One worker may take several.
        for _ in range(12):
            client = clients.enter_context(raw_connection(server.port))
            client.sendall(b"GET /block HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: admin.metrics()["tricorn_loop_lag_seconds"] > 3)
        for _ in range(20):
            for path in ("/livez", "/readyz", "/metrics", "/status"):
                began = time.perf_counter()
                admin.ask(path)
                took[path] = max(took.get(path, 0.0), time.perf_counter() - began)
        wait_until(lambda: admin.ask("/livez")[0] == 503)
    return ", ".join(f"{path} {1000 * seconds:.1f} ms" for path, seconds in took.items()) + " at most; then /livez says 503"


def reborn() -> str:
    """The admin process is killed."""
    took = []
    # Who dies again and again is waited for longer and longer.
    for _ in range(3):
        with serving() as (server, admin):
            first = admin.pid(server)
            began = time.perf_counter()
            os.kill(first, signal.SIGKILL)
            wait_until(lambda first=first: admin.try_to_ask("/livez")[0] == 200 and admin.pid(server) != first)  # type: ignore[misc]
            took.append(time.perf_counter() - began)
    return "back after " + ", ".join(f"{seconds:.2f}" for seconds in took) + " s"


def scrape() -> str:
    """What a scrape costs with 64 workers, and when many have come and gone: the same code without processes."""
    scoreboard = Scoreboard()
    # The workers' processes are only asked for what /proc tells.
    supervised = Supervised("a:b", (), (), time.monotonic(), None, os.getpid())  # type: ignore[arg-type]
    exhibit = Exhibit(Published(), scoreboard, supervised)
    rows = [_work(scoreboard) for _ in range(WORKERS)]
    before, _ = _cost(exhibit)
    for number in range(RECYCLES):
        scoreboard.release(rows[number % WORKERS])
        rows[number % WORKERS] = _work(scoreboard)
    after, counted = _cost(exhibit)
    assert counted == (WORKERS + RECYCLES) * len(PAIRS) * 2
    assert scoreboard.used <= WORKERS + 1
    return f"{1000 * before:.2f} ms of CPU time; after {RECYCLES} recycled workers {1000 * after:.2f} ms; all counted"


def _work(scoreboard: Scoreboard) -> int:
    """A worker that has answered some requests; returns its row."""
    row = scoreboard.claim()
    writer = RowWriter(scoreboard.counts.row(row))
    for method, status in PAIRS:
        for seconds in (0.0005, 0.03):
            writer.counter(method, status)(seconds)
    return row


def _cost(exhibit: Exhibit) -> tuple[float, float]:
    """Seconds of CPU time of one scrape, the median of some, and the requests that it shows. In a process that only reads."""
    with ProcessPoolExecutor(1, get_context("fork"), initializer=_Scraper.begin, initargs=(exhibit,)) as process:
        return process.submit(_Scraper.scrape).result()


class _Scraper:
    """The process that reads."""

    measures: Measures

    @classmethod
    def begin(cls, exhibit: Exhibit) -> None:
        cls.measures = Measures(View(exhibit, Config(app="a:b")))

    @classmethod
    def scrape(cls) -> tuple[float, float]:
        took = []
        for _ in range(30):
            began = time.process_time()
            facts = cls.measures.facts()
            expose(gather(facts))
            took.append(time.process_time() - began)
        return statistics.median(took), facts.counts.requests()


CHECKS: dict[str, Callable[[], str]] = {
    check.__name__: check for check in (counters, app_metrics, strangers, hanging, reborn, scrape)
}


def main() -> None:
    """Run those that are named, or all."""
    for name in sys.argv[1:] or CHECKS:
        print(f"{name}: {CHECKS[name]()}", flush=True)


if __name__ == "__main__":
    main()
