"""Start, crash and stop: what is promised for each, with real processes and real signals."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.harness import (
    PATIENCE,
    Client,
    Server,
    get,
    is_alive,
    is_port_free,
    pass_time,
    raw_connection,
    read_response,
    run_tricorn,
    send_request,
    wait_until,
)
from support.load import Load

PROBE = "tests.apps.probe:app"


@contextmanager
def slow_requests(server: Server, count: int, until: Path) -> Iterator[list[socket.socket]]:
    """So many requests in flight, known by the application to have begun, and answered once the file is there."""
    with ExitStack() as stack:
        connections = [stack.enter_context(raw_connection(server.port)) for _ in range(count)]
        for connection in connections:
            send_request(connection, f"/slow?until={until}")
        server.wait_for_log("slow begins", count)
        yield connections


@contextmanager
def open_event_stream(server: Server) -> Iterator[socket.socket]:
    with raw_connection(server.port) as connection:
        send_request(connection, "/events")
        assert b"200" in connection.recv(65536)
        yield connection


# ---- crashes


def test_a_killed_worker_is_replaced_at_once_and_others_do_not_notice() -> None:
    with Server(PROBE, "--workers", "4", "--no-access-log") as server:
        before = server.wait_for_workers(4)
        witness = Client(server.port)
        bystander = int(witness.get("/pid").body)
        victim = next(pid for pid in before if pid != bystander)
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(r"ready in", count=5)
        assert int(witness.get("/pid").body) == bystander
        witness.close()
        after = server.wait_for_workers(4)
        assert set(before) - set(after) == {victim}
        assert f"[{victim}] crashed: killed by SIGKILL; to be replaced at once" in server.log
        assert server.stop() == 0


def test_a_single_worker_is_replaced_too() -> None:
    with Server(PROBE) as server:
        first = server.wait_for_workers(1)[0]
        with raw_connection(server.port) as connection:
            send_request(connection, "/exit?code=9")
            assert connection.recv(1) == b""
        server.wait_for_log(r"exit code 9")
        server.wait_for_log("ready in", count=2)
        assert int(get(server.port, "/pid").body) != first


def test_connections_wait_while_a_worker_is_replaced() -> None:
    """The listener belongs to the supervisor, so nobody is refused even while no worker lives."""
    with Server(PROBE, "--no-access-log") as server:
        victim = server.wait_for_workers(1)[0]
        os.kill(victim, signal.SIGKILL)
        assert get(server.port, "/pid").status == 200


def test_a_supervisor_that_was_killed_takes_its_workers_along() -> None:
    with Server(PROBE, "--workers", "4") as server:
        workers = server.wait_for_workers(4)
        with open_event_stream(server):
            server.send(signal.SIGKILL)
            # They give themselves a second; a stop would give them thirty.
            wait_until(lambda: not any(map(is_alive, workers)), timeout=10, what="workers outlive their supervisor")
            wait_until(lambda: is_port_free(server.port), what="the port is still held")


# ---- stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_complete_on_a_stop(number: signal.Signals, tmp_path: Path) -> None:
    with Server(PROBE, "--workers", "4") as server:
        server.wait_for_ready(4)
        with slow_requests(server, count=20, until=tmp_path / "stops") as connections:
            server.send(number)
            # Then all workers drain.
            wait_until(lambda: is_refused(server.port), what="connections are still accepted")
            (tmp_path / "stops").touch()
            for connection in connections:
                answer = read_response(connection)
                assert (answer.status, answer.body) == (200, b"slow ends")
                assert answer.headers.get("connection") == "close"
        assert server.wait_for_exit() == 0
        wait_until(lambda: is_port_free(server.port))
        assert server.log.count("lifespan shutdown in") == 4
        assert "Traceback" not in server.log


def test_nothing_is_accepted_once_a_stop_began(tmp_path: Path) -> None:
    with Server(PROBE) as server:
        server.wait_for_ready(1)
        with slow_requests(server, count=1, until=tmp_path / "stops") as connections:
            server.send(signal.SIGTERM)
            wait_until(lambda: is_refused(server.port), what="connections are still accepted")
            (tmp_path / "stops").touch()
            assert read_response(connections[0]).status == 200
        assert server.wait_for_exit() == 0


def is_refused(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
            return False
    except ConnectionRefusedError:
        return True


def test_idle_connections_do_not_delay_a_stop() -> None:
    with Server(PROBE, "--workers", "2", "--timeout-keep-alive", "60") as server:
        server.wait_for_ready(2)
        with Load(server.port, connections=8, path="/pid", limit=8) as load:
            load.join()
        idle = Client(server.port)
        idle.get("/pid")
        # The keep-alive timeout is sixty seconds, the grace thirty.
        assert server.stop(timeout=15) == 0
        idle.close()


def test_ctrl_c_with_an_open_event_stream_ends_within_the_grace_period() -> None:
    with Server(PROBE, "--workers", "2", "--timeout-graceful-shutdown", "1") as server:
        server.wait_for_ready(2)
        with open_event_stream(server):
            begun = time.monotonic()
            server.send_to_group(signal.SIGINT)
            # Without the option it would be thirty seconds.
            assert server.wait_for_exit(timeout=15) == 0
            assert time.monotonic() - begun > 0.6
        assert "Traceback" not in server.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(number: signal.Signals) -> None:
    with Server(PROBE, "--workers", "2") as server:
        server.wait_for_ready(2)
        with open_event_stream(server):
            server.send_to_group(number) if number == signal.SIGINT else server.send(number)
            server.wait_for_log("stopping")
            # What comes earlier is the same wish (see tests/processes/lifecycle/test_stop_signals.py).
            pass_time(2.1)
            server.send_to_group(number) if number == signal.SIGINT else server.send(number)
            # Well before the grace of thirty seconds.
            server.wait_for_exit(timeout=15)
        assert "Traceback" not in server.log


def test_quit_stops_at_once() -> None:
    with Server(PROBE, "--workers", "2") as server:
        server.wait_for_ready(2)
        with open_event_stream(server):
            assert server.stop(signal.SIGQUIT, timeout=15) == 0


def test_a_stop_during_start_up_is_obeyed() -> None:
    with Server("tests.apps.never_starts:app") as server:
        server.wait_for_log("never_starts waits")
        # Start-up may take a minute.
        assert server.stop(timeout=15) == 0


def test_stop_under_load_refuses_but_never_breaks_a_request() -> None:
    """Every answer that was begun is completed; after that, connections are refused and idle ones closed."""
    with Server("examples.hello:app", "--workers", "2", "--no-access-log") as server:
        server.wait_for_ready(2)
        done = threading.Event()
        broken: list[str] = []

        def ask_until_refused() -> None:
            while not done.is_set():
                data = b""
                try:
                    with raw_connection(server.port) as connection:
                        send_request(connection, "/", "Connection: close")
                        while piece := connection.recv(65536):
                            data += piece
                except OSError:
                    # Refused, or reset before it was accepted: what a stop does to those who come too late.
                    if not data:
                        return
                if data and not data.endswith(b".\n"):
                    broken.append(repr(data))

        threads = [threading.Thread(target=ask_until_refused) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert server.stop() == 0
        done.set()
        for thread in threads:
            thread.join(timeout=PATIENCE)
        assert broken == []


# ---- start


def test_an_application_that_fails_at_import_is_tried_once_and_explained() -> None:
    ended = run_tricorn("tests.apps.broken:app", "--port", "0", timeout=15)
    assert ended.returncode == 3
    assert ended.stdout.count("broken imported by") == 1
    assert ended.stderr.count("RuntimeError: no database at tea-pot:5432") == 1
    assert "in connect_to_database" in ended.stderr
    assert ended.stderr.count("Traceback") == 1
    assert "importlib" not in ended.stderr, "only the application's frames"
    assert "src/worker" not in ended.stderr, "only the application's frames"


def test_many_workers_that_fail_print_the_error_once() -> None:
    ended = run_tricorn("tests.apps.broken:app", "--port", "0", "--workers", "4")
    assert ended.returncode == 3
    assert ended.stdout.count("broken imported by") <= 4
    assert ended.stderr.count("RuntimeError: no database at tea-pot:5432") == 1


def test_an_application_whose_lifespan_fails() -> None:
    ended = run_tricorn("tests.apps.startup_fails:app", "--port", "0")
    assert ended.returncode == 3
    assert ended.stderr.count("the cache is cold") == 1


@pytest.mark.parametrize(
    ("app", "cause"),
    [
        ("no_such_module:app", "no_such_module"),
        ("examples.no_such:app", "examples.no_such"),
        ("examples.hello:missing", "missing"),
        ("examples.hello:os.environ", "not callable"),
    ],
)
def test_an_application_that_is_not_there_is_one_line(app: str, cause: str) -> None:
    ended = run_tricorn(app, "--port", "0", "--workers", "2")
    assert ended.returncode == 3
    errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1, ended.stderr
    assert app in errors[0]
    assert cause in errors[0]
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = run_tricorn(PROBE, "--port", str(port), timeout=15)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"--port {port}" in ended.stderr
    assert "in use" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--host", "no-such-host.invalid", "--port", "0"], "--host no-such-host.invalid"),
        (["--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1"),
        (["--uds", "/no/such/directory/x.sock"], "--uds /no/such/directory/x.sock"),
        (["--fd", "77"], "--fd 77"),
    ],
)
def test_an_address_that_cannot_be_bound_is_one_line(arguments: list[str], named: str) -> None:
    ended = run_tricorn(PROBE, *arguments)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert named in ended.stderr


def test_an_app_dir(tmp_path: Path) -> None:
    (tmp_path / "somewhere_else.py").write_text("from examples.hello import app\n")
    with Server("somewhere_else:app", "--app-dir", str(tmp_path), env={"PYTHONPATH": str(Path.cwd())}) as server:
        server.wait_for_ready(1)
        assert get(server.port).body.startswith(b"Hello")


def test_a_factory() -> None:
    with Server("tests.apps.factory:create_app", "--factory") as server:
        server.wait_for_ready(1)
        assert get(server.port).body.startswith(b"Hello")
