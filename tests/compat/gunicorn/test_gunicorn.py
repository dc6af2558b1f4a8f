"""Tricorn's worker class under the real gunicorn."""

from __future__ import annotations

import base64
import contextlib
import signal
import sys
from pathlib import Path

import pytest
from support.harness import Client, Server, children_of, get, is_alive, is_port_free, raw_connection, send_request, wait_until

pytest.importorskip("gunicorn")
PROBE = "tests.apps.probe:app"


def gunicorn(*arguments: str, app: str = PROBE) -> Server:
    """As the harness serves, but by gunicorn."""
    server = Server(app)
    worker = ("-k", "tricorn.gunicorn.TricornWorker", "--access-logfile", "-", "--no-control-socket")
    server.command = [sys.executable, "-m", "gunicorn", *worker, "--bind", "127.0.0.1:0", *arguments, app]
    return server


def port_of(server: Server) -> int:
    return int(server.wait_for_log(r"Listening at: http://127.0.0.1:(\d+)").group(1))


def test_it_serves_with_gunicorns_settings_and_into_its_logs() -> None:
    with gunicorn("-w", "2", "--limit-request-fields", "5") as server:
        port = port_of(server)
        server.wait_for_log("running on", count=2)
        answer = get(port, "/pid")
        assert answer.headers["server"] == "tricorn"
        assert int(answer.body) in children_of(server.pid)
        server.wait_for_log(r'127.0.0.1:\d+ - "GET /pid HTTP/1.1" 200')
        assert server.stop() == 0
        assert server.log.count("lifespan shutdown in") == 2
        assert "was sent SIG" not in server.log
        wait_until(lambda: is_port_free(port))


@pytest.mark.parametrize(("arguments", "status"), [((), 200), (("--limit-request-line", "4000"), 414)])
def test_gunicorns_limits_hold_where_they_are_set(arguments: tuple[str, ...], status: int) -> None:
    with gunicorn(*arguments) as server:
        assert get(port_of(server), "/pid?" + "a" * 9000).status == status


def test_access_logformat_is_gunicorns() -> None:
    atoms = "told %(h)s|%(u)s|%(m)s|%(r)s|%(U)s|%(q)s|%(H)s|%(s)s|%(B)s|%(a)s|%({x-id}i)s|%({content-type}o)s|%(nothing)s|%(D)d"
    with gunicorn("--access-logformat", atoms) as server, contextlib.closing(Client(port_of(server))) as client:
        credentials = base64.b64encode(b"ann:secret").decode()
        headers = {"User-Agent": 'a "b"', "X-Id": "7", "Authorization": f"Basic {credentials}"}
        client.ask("GET", "/pid?a=1", headers=headers)
        line = server.wait_for_log(r"told (.*)\|\d+\n")
        pid = len(str(int(get(client.port, "/pid").body)))
        said = line.group(1).split("|")
        assert said[:9] == ["127.0.0.1", "ann", "GET", "GET /pid?a=1 HTTP/1.1", "/pid", "a=1", "HTTP/1.1", "200", str(pid)]
        assert said[9:11] == [r"a \"b\"", "7"]
        assert said[12] == "-"
        assert server.log.count("told") == server.log.count("GET /pid")
        # Not logged twice, once in each way.
        assert '- "GET' not in server.log


def test_a_logger_class_is_asked() -> None:
    with gunicorn("--logger-class", "tests.apps.gunicorn_logger.Counting") as server:
        get(port_of(server), "/pid")
        server.wait_for_log("measured /pid 200")


def test_a_reload_replaces_the_workers() -> None:
    with gunicorn("-w", "1") as server:
        port = port_of(server)
        server.wait_for_log("running on")
        before = int(get(port, "/pid").body)
        server.send(signal.SIGHUP)
        wait_until(lambda: not is_alive(before))
        wait_until(lambda: int(get(port, "/pid").body) != before)


def test_max_requests() -> None:
    with gunicorn("--max-requests", "2") as server:
        port = port_of(server)
        before = int(get(port, "/pid").body)
        get(port, "/pid")
        server.wait_for_log("--limit-max-requests 2 reached")
        wait_until(lambda: not is_alive(before))


def test_a_hung_worker_is_killed_by_gunicorn() -> None:
    with gunicorn("--timeout", "2") as server:
        port = port_of(server)
        pid = int(get(port, "/pid").body)
        with raw_connection(port) as connection:
            send_request(connection, "/hang?seconds=60")
            wait_until(lambda: not is_alive(pid))
        assert "WORKER TIMEOUT" in server.log


def test_workers_do_not_outlive_gunicorn() -> None:
    with gunicorn() as server:
        port = port_of(server)
        pid = int(get(port, "/pid").body)
        server.send(signal.SIGKILL)
        wait_until(lambda: not is_alive(pid))


def test_a_stop_while_the_application_is_imported_is_obeyed() -> None:
    with gunicorn(app="tests.apps.slow_start:app") as server:
        server.wait_for_log("slow_start imported")
        # Long before gunicorn's patience with a worker that does not end: 30 s.
        assert server.stop(timeout=15) == 0
        assert "running on" not in server.log


def test_an_application_that_does_not_start(tmp_path: Path) -> None:
    with gunicorn(app="tests.apps.startup_fails:app") as server:
        # As gunicorn does for every worker that fails to boot.
        assert server.wait_for_exit() == 3
        assert "start-up failed" in server.log
