"""``--report-stalls``: what keeps a worker's event loop from turning is named, from outside and while it lasts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.harness import ROOT, Server, environment, get, pass_time, raw_connection
from support.websocket_wire import TEXT, client_frame
from support.websocket_wire import request as handshake

APP = "tests.apps.stalls:app"
LINES = Path("tests/apps/stalls.py").read_text().splitlines()


def line_of(text: str) -> int:
    """The number of the only line with ``text``."""
    [number] = [number for number, line in enumerate(LINES, 1) if text in line]
    return number


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(APP, "--report-stalls", "0.2", "--loop", request.param) as server:
        server.wait_for_ready(1)
        yield server


def test_the_line_is_named_and_the_duration_is_right(server: Server) -> None:
    slept = float(get(server.port, "/sleep?0.6").body)
    line = line_of('        case "sleep"') + 1
    told = server.wait_for_log(rf"did not turn for (\d\.\d+) s: GET /sleep, at tests/apps/stalls.py:{line} app\n")
    # Half a period of beats; and what a busy machine adds until the next beat.
    assert -0.05 < float(told[1]) - slept < 0.05 + 0.1 * os.getloadavg()[0]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/backtrack?1", (line_of("re.match"), "backtrack")),
        ("/compute?0.6", (line_of("while time.monotonic() < end"), "compute")),
        ("/process?0.6", (line_of("subprocess.run("), "app")),
        ("/task?0.6", (line_of("async def handler") + 1, "handler")),
    ],
)
def test_whatever_holds_the_loop_is_named_and_so_is_the_request(path: str, place: tuple[int, str], server: Server) -> None:
    get(server.port, path)
    number, function = place
    lines = f"{number}|{number + 1}" if function == "compute" else str(number)
    name = path.partition("?")[0]
    server.wait_for_log(rf"did not turn for \d\.\d+ s: GET {name}, at (.*, )?tests/apps/stalls.py:({lines}) {function}")
    if name != "/backtrack":
        return
    # A long one is told while it lasts, too.
    server.wait_for_log(rf"does not turn: GET {name}, \d\.\d s so far, at tests/apps/stalls.py:{number} {function}")


def test_a_websocket_is_named_too(server: Server) -> None:
    with raw_connection(server.port) as client:
        client.sendall(handshake("/chat") + client_frame(TEXT, b"x"))
        server.wait_for_log(r"did not turn for \d\.\d+ s: WebSocket /chat, at tests/apps/stalls.py")


def test_what_awaits_is_never_reported(server: Server) -> None:
    before = server.log.count(" turn")
    assert get(server.port, "/fair?1.5").status == 200
    assert get(server.port, "/sleep?0.05").status == 200
    assert server.log.count(" turn") == before


def test_a_place_is_told_once_and_then_counted() -> None:
    with Server(APP, "--report-stalls", "0.2") as server:
        server.wait_for_ready(1)
        for _ in range(3):
            get(server.port, "/sleep?0.35")
        get(server.port, "/process?0.35")
        server.wait_for_log("did not turn for .* GET /process")
        assert len(re.findall("GET /sleep, at", server.log)) == 1
        assert server.stop() == 0


BUSY = """
import inspect, os, signal, sys, threading, time, typing
from tricorn.worker import stalls

def work(end):
    while time.monotonic() < end:
        def f(a: int, b: "str" = 1, *c, d: typing.Optional[int] = None): return [x for x in range(a)]
        inspect.signature(f), typing.get_type_hints(f), sorted(range(20), key=lambda x: -x), list(steps(3))

def steps(n):
    if n:
        yield from steps(n - 1)
    yield n

read, write = os.pipe()
if (pid := os.fork()) == 0:
    stalls.prepare(os.open(os.devnull, os.O_WRONLY))
    os.write(write, b"1")
    work(time.monotonic() + 1000)
os.read(read, 1)
for _ in range(3000):
    time.sleep(0.0005)
    os.kill(pid, stalls.SAMPLE_SIGNAL)
ended, status = os.waitpid(pid, os.WNOHANG)
print("alive" if not ended else status)
os.kill(pid, signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="there are no real-time signals")
def test_a_worker_whose_code_runs_survives_thousands_of_samples() -> None:
    command = [sys.executable, "-c", BUSY]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "alive\n"


def test_zero_reports_nothing() -> None:
    with Server(APP, "--report-stalls", "0") as server:
        server.wait_for_ready(1)
        get(server.port, "/sleep?1.5")
        get(server.port, "/fair?0.1")
        assert " turn" not in server.log


def test_with_reload_the_line_is_for_a_developer() -> None:
    with Server(APP, "--reload") as server:
        server.wait_for_log("ready in|Serving")
        get(server.port, "/sleep?0.5")
        server.wait_for_log(r"GET /sleep held up all other requests for 0\.\d+ s at tests/apps/stalls.py:\d+ app: await there")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--report-stalls", "0.2"), "Worker 0 .* did not turn for .* s: an unknown request or task, at "),
        (("--reload",), "An unknown request or task held up all other requests for .* s at "),
    ],
)
def test_a_task_without_a_request_is_said_to_be_unknown(options: tuple[str, ...], line: str) -> None:
    with Server(APP, *options) as server:
        server.wait_for_log("ready in|Serving")
        get(server.port, "/background?0.6")
        server.wait_for_log(line + r"tests/apps/stalls.py:\d+ blocks_in_the_background")


def test_an_idle_fleet_sleeps() -> None:
    def switches(pids: list[int]) -> int:
        return sum(psutil.Process(pid).num_ctx_switches().voluntary for pid in pids)

    with Server(APP, "--loop", "asyncio") as server:
        server.wait_for_ready(1)
        get(server.port, "/sleep?0")
        # Late imports, and the rest of the beats that the request began.
        pass_time(8)
        before = switches([server.pid, *server.workers()])
        pass_time(4)
        # The worker's one beat a second, and nothing of the supervisor's.
        assert switches([server.pid, *server.workers()]) - before <= 4 * 2 + 4


def test_a_worker_that_is_stopped_by_a_signal_is_no_stall() -> None:
    with Server(APP, "--report-stalls", "0.2") as server:
        server.wait_for_ready(1)
        get(server.port, "/fair?0.1")
        [worker] = server.workers()
        # Until it has come back from the request; it still beats.
        pass_time(0.5)
        os.kill(worker, signal.SIGSTOP)
        pass_time(1)
        os.kill(worker, signal.SIGCONT)
        assert get(server.port, "/fair?0.5").status == 200
        assert " turn" not in server.log
