"""What lines of the logs begin and end with, and what a JSON log says of a request."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.harness import Client, Server, environment, get, raw_connection, wait_until

APP = """
import logging
logger = logging.getLogger("shop.orders")

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/fails":
        raise ValueError("no such order")
    logger.info("paid", extra={"order": 7})
    logger.debug("not shown")
    body = f"{scope.get('request_id')} {scope.get('trace_id')}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""
TIMED = r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO:     "
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


def serve(folder: Path, *arguments: str, **extra: str) -> Server:
    server = Server("shop:app", "--app-dir", str(folder), *arguments)
    del server.env["TRICORN_LOG_TIME"]
    server.env |= extra
    return server


def test_in_a_pipe_or_a_file_lines_have_time_level_and_process(folder: Path) -> None:
    with serve(folder) as server:
        get(server.port)
        server.wait_for_log(TIMED + r"supervisor \[\d+\]: Worker 0 \[\d+\] ready in")
        server.wait_for_log(TIMED + r'worker 0 \[\d+\]: 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK$')


def test_on_wish_they_have_none(folder: Path) -> None:
    with serve(folder, "--no-log-time") as server:
        get(server.port)
        server.wait_for_log(r'(?m)^INFO:     127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK$')
        assert not re.search(TIMED, server.log)


def test_the_journal_adds_time_and_process_itself(folder: Path) -> None:
    server = serve(folder)
    status = os.fstat(server.output.fileno())
    server.env["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    with server:
        get(server.port)
        server.wait_for_log(r'(?m)^INFO:     127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK$')
        assert not re.search(TIMED, server.log)


@pytest.mark.parametrize("arguments", [[], ["--log-time"]])
def test_on_a_terminal_the_line_of_a_request_ends_with_its_duration(arguments: list[str], folder: Path) -> None:
    ours, theirs = pty.openpty()
    given = environment() | {"NO_COLOR": "1"}
    del given["TRICORN_LOG_TIME"]
    command = [sys.executable, "-m", "tricorn", "shop:app", "--port", "0", "--app-dir", str(folder), *arguments]
    process = subprocess.Popen(
        command, env=given, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = ""

    def see(pattern: str) -> re.Match[str] | None:
        nonlocal seen
        try:
            seen += os.read(ours, 65536).decode().replace("\r\n", "\n")
        except BlockingIOError:
            pass
        return re.search(pattern, seen)

    try:
        found = wait_until(lambda: see(r"Serving .*http://127\.0\.0\.1:(\d+)"), what=seen)
        get(int(found[1]))
        if arguments:
            wait_until(lambda: see(TIMED + r'worker 0 \[\d+\]: 127.* "GET / HTTP/1\.1" 200 OK\n'), what=seen)
        else:
            wait_until(lambda: see(r'(?m)^INFO:     127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK \d+(\.\d)? m?s$'), what=seen)
    finally:
        process.terminate()
        process.wait(timeout=30)
        os.close(ours)


# ------------------------------------------------------------------------------------------------------------------- JSON


def objects(server: Server, **wanted: Any) -> list[dict[str, Any]]:
    """The objects that were logged and have these values."""
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return [one for one in lines if all(one.get(name) == value for name, value in wanted.items())]


def test_all_lines_of_a_json_log_have_one_schema(folder: Path) -> None:
    with serve(folder, "--log-format", "json") as server:
        client = Client(server.port)
        client.get("/a%20b?q=1")
        client.get("/fails")
        client.close()
        [request] = server.wait_until(lambda: objects(server, event="request", status=200))
        [failed] = server.wait_until(lambda: objects(server, event="request", status=500))
        [error] = server.wait_until(lambda: objects(server, event="exception"))
        [said] = server.wait_until(lambda: objects(server, logger="shop.orders"))
        [ready] = [one for one in objects(server, event="lifecycle") if "ready in" in one["message"]]
        for one in objects(server):
            assert {"time", "level", "event", "logger", "worker", "pid"} <= one.keys(), one
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"])
        assert all(line.startswith("{") for line in server.log.splitlines()), server.log
    for one in (request, failed, error, said):
        assert (one["worker"], one["slot"], one["pid"]) == ("worker 0", 0, ready["worker_pid"])
    assert (request["method"], request["path"], request["query"], request["client"]) == ("GET", "/a%20b", "q=1", "127.0.0.1")
    assert request["bytes"] == len("None None")
    assert 0 <= request["seconds"] < 30
    assert (said["message"], said["order"], said["event"], said["level"]) == ("paid", 7, "log", "info")
    assert "no such order" in error["exception"]
    assert (ready["worker"], ready["slot"], ready["level"]) == ("supervisor", 0, "info")
    assert not [one for one in objects(server) if one.get("message") == "not shown"]


def test_request_ids(folder: Path) -> None:
    traceparent = f"00-{TRACE}-00f067aa0ba902b7-01"
    with serve(folder, "--log-format", "json", "--request-id") as server:
        client = Client(server.port)
        given = client.ask("GET", "/given", headers={"X-Request-ID": "abc-1", "Traceparent": traceparent})
        made = client.get("/made")
        bad = client.ask("GET", "/bad", headers={"X-Request-ID": 'x" y', "Traceparent": "00-0-0-0"})
        client.get("/fails")
        client.close()
        assert (given.body.decode(), given.headers["x-request-id"]) == (f"abc-1 {TRACE}", "abc-1")
        for answer in (made, bad):
            request_id, trace_id = answer.body.decode().split()
            assert answer.headers["x-request-id"] == request_id
            assert re.fullmatch("[0-9a-f]{32}", request_id)
            assert re.fullmatch("[0-9a-f]{32}", trace_id)
        [request] = server.wait_until(lambda: objects(server, path="/given"))
        assert (request["request_id"], request["trace_id"]) == ("abc-1", TRACE)
        said = server.wait_until(lambda: objects(server, logger="shop.orders", request_id="abc-1"))
        assert said[0]["trace_id"] == TRACE
        [error] = server.wait_until(lambda: objects(server, event="exception"))
        [failed] = server.wait_until(lambda: objects(server, path="/fails"))
        assert error["request_id"] == failed["request_id"]


def test_without_the_wish_there_are_none(folder: Path) -> None:
    with serve(folder, "--log-format", "json") as server:
        client = Client(server.port)
        answer = client.ask("GET", "/given", headers={"X-Request-ID": "abc-1"})
        client.close()
        assert answer.body == b"None None"
        assert "x-request-id" not in answer.headers
        [request] = server.wait_until(lambda: objects(server, path="/given"))
        assert "request_id" not in request


def test_an_application_that_configures_logging_keeps_its_own(folder: Path) -> None:
    own = "import logging\nlogging.basicConfig(format='OWN %(message)s', level='INFO', force=True)\n"
    (folder / "shop.py").write_text(own + APP)
    with serve(folder, "--log-format", "json") as server:
        get(server.port)
        server.wait_for_log(r"(?m)^OWN paid$")
        assert not objects(server, message="paid")


def test_a_refused_request_has_the_same_fields(folder: Path) -> None:
    with serve(folder, "--log-format", "json") as server, raw_connection(server.port) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in client.recv(4096)
        [refused] = server.wait_until(lambda: objects(server, event="request", status=400))
        assert {"method", "path", "status", "bytes", "seconds", "client", "worker", "slot", "pid"} <= refused.keys()
