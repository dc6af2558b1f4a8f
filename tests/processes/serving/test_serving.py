"""Requests against a real server: load, memory, where it listens, and what it says about it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.harness import (
    PATIENCE,
    ROOT,
    Client,
    Server,
    cpu_time,
    get,
    pass_time,
    raw_connection,
    read_response,
    run_tricorn,
    send_request,
    wait_for_rest,
    wait_until,
)
from support.load import Load

PROBE = "tests.apps.probe:app"
MIB = 2**20


def rss(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def hammer(port: int, requests: int, connections: int, path: str = "/") -> None:
    """At least so many requests over so many keep-alive connections, none of which may fail; with wrk where it is installed."""
    if not shutil.which("wrk"):
        with Load(port, connections, path, limit=requests) as load:
            tally = load.join(timeout=300)
        assert not tally.failures, str(tally)
        return
    done = 0
    while done < requests:
        command = ["wrk", "-t1", f"-c{connections}", "-d2s", "--timeout", "30s", f"http://127.0.0.1:{port}{path}"]
        report = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        assert "Socket errors" not in report, report
        assert "Non-2xx" not in report, report
        match = re.search(r"(\d+) requests in", report)
        assert match, report
        done += int(match.group(1))


@pytest.mark.parametrize(
    ("app", "path", "requests"),
    [
        ("examples.hello:app", "/", 20_000),
        ("examples.fastapi_app:app", "/notes/1", 20_000),
        ("tests.apps.django_app:app", "/", 5_000),
    ],
)
def test_load_over_200_connections_without_an_error(app: str, path: str, requests: int) -> None:
    with Server(app, "--workers", "4", "--no-access-log") as server:
        server.wait_for_ready(4)
        pids = server.workers()
        hammer(server.port, requests, connections=200, path=path)
        assert server.workers() == pids, "no worker was replaced"
        assert "ERROR" not in server.log
        assert server.stop() == 0


def test_all_four_workers_serve() -> None:
    with Server(PROBE, "--workers", "4") as server:
        pids = server.wait_for_workers(4)
        serving: set[int] = set()

        def all_have_served() -> bool:
            with Load(server.port, connections=200, path="/pid", limit=2000) as load:
                tally = load.join()
            assert not tally.failures, str(tally)
            serving.update(map(int, tally.answers))
            return serving == set(pids)

        # Once is enough but where a worker gets no processor for as long as all that takes.
        wait_until(all_have_served, what=lambda: f"only {serving} of {pids}")


def test_the_access_log_has_uvicorns_format() -> None:
    with Server(PROBE) as server:
        assert get(server.port, "/pid?a=%20b").status == 200
        assert get(server.port, "/nowhere").status == 404
        server.wait_for_log(r'INFO:     127\.0\.0\.1:\d+ - "GET /pid\?a=%20b HTTP/1\.1" 200 OK\n')
        server.wait_for_log(r'INFO:     127\.0\.0\.1:\d+ - "GET /nowhere HTTP/1\.1" 404 Not Found\n')
        assert "\x1b[" not in server.log, "colours are for terminals"


def test_without_access_log() -> None:
    with Server(PROBE, "--no-access-log") as server:
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0
        assert "GET /pid" not in server.log


def test_an_exception_in_the_application_is_a_500_with_its_traceback_in_the_log() -> None:
    with Server(PROBE) as server:
        assert get(server.port, "/fail").status == 500
        server.wait_for_log("ValueError: the application's own fault")
        assert get(server.port, "/pid").status == 200


def test_a_client_that_half_closes_gets_its_answer() -> None:
    with Server(PROBE) as server, raw_connection(server.port) as client:
        send_request(client, "/slow?seconds=0.3")
        client.shutdown(socket.SHUT_WR)
        assert read_response(client).body == b"slow ends"


def test_a_client_that_does_not_read_costs_no_memory() -> None:
    with Server(PROBE, "--log-level", "debug") as server, raw_connection(server.port) as stubborn:
        pid = server.wait_for_workers(1)[0]
        server.wait_for_provision()
        base = rss(pid)
        send_request(stubborn, "/big?mib=200")
        highest = watch_memory(pid, seconds=2)
        sent = int(get(server.port, "/progress").body.split()[0])
        assert sent < 20 * MIB, "the application was not made to wait"
        assert highest - base < 8 * MIB
        assert len(read_response(stubborn).body) == 200 * MIB
        assert rss(pid) - base < 8 * MIB


def test_an_application_that_reads_slowly_costs_no_memory() -> None:
    with Server(PROBE, "--log-level", "debug") as server, raw_connection(server.port) as client:
        pid = server.wait_for_workers(1)[0]
        server.wait_for_provision()
        base = rss(pid)
        send_request(client, "/upload?slow=100", f"Content-Length: {200 * MIB}", method="POST")
        piece, highest = bytes(MIB), 0
        for _ in range(200):
            client.sendall(piece)
            highest = max(highest, rss(pid))
        assert read_response(client).body == str(200 * MIB).encode()
        assert highest - base < 8 * MIB


def watch_memory(pid: int, seconds: float) -> int:
    """The highest resident size seen in that time."""
    highest, end = 0, time.monotonic() + seconds

    def measured_long_enough() -> bool:
        nonlocal highest
        highest = max(highest, rss(pid))
        return time.monotonic() > end

    wait_until(measured_long_enough)
    return highest


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "tricorn.sock"
    with Server(PROBE, "--workers", "2", listen=("--uds", str(path))) as server:
        server.wait_for_ready(2)
        assert Client(uds=str(path)).get("/pid").status == 200
        assert str(path) in server.log
        second = run_tricorn(PROBE, "--uds", str(path))
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1, second.stderr
        assert f"--uds {path}" in second.stderr
        assert Client(uds=str(path)).get("/pid").status == 200, "the first goes on serving"
        assert server.stop() == 0
    assert not path.exists(), "the socket file is removed at exit"


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "tricorn.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Server(PROBE, listen=("--uds", str(path))) as server:
        server.wait_for_ready(1)
        assert Client(uds=str(path)).get("/pid").status == 200


def test_a_file_that_is_no_socket_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "precious.txt"
    path.write_text("precious")
    ended = run_tricorn(PROBE, "--uds", str(path))
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert path.read_text() == "precious"


def test_an_inherited_descriptor() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = Server(PROBE, "--workers", "2", listen=("--fd", str(listener.fileno())))
        server.pass_fds = (listener.fileno(),)
        with server:
            server.wait_for_ready(2)
            assert get(listener.getsockname()[1], "/pid").status == 200
            assert server.stop() == 0


def test_several_hosts() -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 here")
    with Server(PROBE, "--host", "127.0.0.1", "--host", "::1") as server:
        server.wait_for_ready(1)
        port = int(server.wait_for_log(r"http://\[::1\]:(\d+)").group(1))
        with socket.create_connection(("::1", port), timeout=PATIENCE) as client:
            send_request(client, "/pid")
            assert read_response(client).status == 200
        assert get(server.port, "/pid").status == 200


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_start_up_lines_say_what_is_served_where_and_how() -> None:
    with Server(PROBE, "--workers", "2", "--loop", "asyncio", "--http", "h11") as server:
        server.wait_for_ready(2)
        head = server.log.split("ready in", 1)[0]
        for word in (PROBE, f"http://127.0.0.1:{server.port}", "2 workers", "asyncio", "h11"):
            assert word in head
        server.wait_for_log(r"Serving .* on http://.* \(press CTRL\+C to quit\)")
        assert server.log.count("http://") == 2, "the URL stands in two lines: of the start, and when a worker serves"


def test_idle_is_idle() -> None:
    """With four workers: fewer than two wake-ups of the supervisor, and less than 5 ms of CPU of the whole tree, per second.

    One quiet stretch proves it: work that goes on and on leaves none. A machine may take away memory that has not been used for
    a second; then every wake-up costs milliseconds until it is back. What that costs, a process tells that does nothing else.
    """
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("needs Linux' schedstat")
    seconds = 4.0
    with Server("examples.hello:app", "--workers", "4", "--log-level", "debug") as server:
        server.wait_for_provision()
        pids = [server.pid, *server.workers()]
        with waking_once_a_second() as other:
            wait_for_rest([*pids, other])

            def is_idle() -> bool:
                wakeups, cpu, others = switches(server.pid), cpu_time(pids), cpu_time([other])
                pass_time(seconds)
                least = (cpu_time([other]) - others) * len(pids)
                idles = cpu_time(pids) - cpu < 0.005 * seconds + 2 * least
                return idles and switches(server.pid) - wakeups < 2 * seconds

            wait_until(is_idle, what="the processes never idle")


@contextmanager
def waking_once_a_second() -> Iterator[int]:
    """The pid of an event loop that wakes up once a second, and has nothing to do then."""
    forever = "import asyncio\nasync def wake():\n while True: await asyncio.sleep(1)\nasyncio.run(wake())"
    with subprocess.Popen([sys.executable, "-c", forever]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def switches(pid: int) -> int:
    return int(psutil.Process(pid).num_ctx_switches().voluntary)


def test_examples_say_how_to_run_them() -> None:
    for path in (ROOT / "examples").glob("*.py"):
        # Each is an application, or holds an application's hooks.
        assert re.search(rf"tricorn (examples\.{path.stem}:app|examples\.\w+:app .*examples\.{path.stem}:)", path.read_text())
