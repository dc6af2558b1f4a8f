"""Uvicorn beside Tricorn: what docs/from-uvicorn.md calls the same is the same, and what it says differs does so.

Each row of its tables has a test here, which runs both servers; a row without one fails the last test.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from support.harness import (
    ROOT,
    Response,
    Server,
    children_of,
    environment,
    get,
    pass_time,
    raw_connection,
    read_response,
    send_request,
    wait_until,
    wait_until_read,
)

uvicorn = pytest.importorskip("uvicorn", minversion="0.54", reason="uvicorn is not installed")

APP = "tests.apps.beside:app"
ROWS: dict[str, Callable[[], None]] = {}
"""The tests of the page's rows, by the text of their first cells."""


def row(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say which row of the page a test is of."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        ROWS[text] = test
        return test

    return note


def tricorn(*options: str, app: str = APP) -> Server:
    return Server(app, *options)


def peer(*options: str, app: str = APP) -> Server:
    server = Server(app, *options)
    server.command[2] = "uvicorn"
    return server


BOTH = pytest.mark.parametrize("serve", [peer, tricorn])


def ask(server: Server, path: str, *headers: str, method: str = "GET") -> Response:
    with raw_connection(server.port) as client:
        send_request(client, path, *headers, method=method)
        return read_response(client, method)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False)


# ------------------------------------------------------------------------------------------------------ what is the same

SERVERS_OWN = ("server", "client", "extensions", "asgi")


def scope_seen(server: Server, path: str) -> dict[str, Any]:
    scope: dict[str, Any] = json.loads(ask(server, path, "X-Forwarded-For: 9.8.7.6", "X-Forwarded-Proto: https").body)
    return scope


@pytest.mark.parametrize("options", [(), ("--root-path", "/shop"), ("--no-proxy-headers",)])
def test_the_scope_of_a_request(options: tuple[str, ...]) -> None:
    with peer(*options) as theirs, tricorn(*options) as ours:
        for path in ("/scope", "/scope?a=%20b&c", "/scope/caf%C3%A9"):
            path = path if "/scope/" not in path else "/scope?x"
            wanted, found = scope_seen(theirs, path), scope_seen(ours, path)
            assert found["asgi"]["version"] == wanted["asgi"]["version"]
            for name in ("server", "client"):
                assert [type(one) for one in found[name]] == [type(one) for one in wanted[name]]
            for name in SERVERS_OWN:
                wanted.pop(name, None), found.pop(name, None)
            assert found == wanted


def test_the_scope_of_a_websocket() -> None:
    from websockets.sync.client import connect

    def seen(server: Server) -> dict[str, Any]:
        with connect(f"ws://127.0.0.1:{server.port}/w?a=b", subprotocols=["one", "two"]) as client:  # type: ignore[list-item]
            scope: dict[str, Any] = json.loads(client.recv())
            scope["headers"] = [name for name, _ in scope["headers"]]
            return {name: value for name, value in scope.items() if name not in SERVERS_OWN}

    with peer() as theirs, tricorn() as ours:
        assert seen(ours) == seen(theirs)


@BOTH
def test_answers_to_an_application_that_fails(serve: Any) -> None:
    with serve() as server:
        answer = ask(server, "/fail")
        assert (answer.status, answer.body) == (500, b"Internal Server Error")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "ValueError: the application's own fault" in server.log


HEADS = [
    b"GET /?" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=" + b"b" * 9_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 119 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  0 \r\n\r\n",
]


@BOTH
def test_heads_that_are_taken(serve: Any) -> None:
    with serve() as server:
        for head in HEADS:
            with raw_connection(server.port) as client:
                client.sendall(head)
                assert read_response(client).status == 200, head[:100]


@BOTH
@pytest.mark.parametrize(("app", "encoding"), [("buffered", None), ("gzipped", "gzip")])
def test_files_behind_middleware(app: str, encoding: str | None, serve: Any) -> None:
    with serve(app=f"tests.apps.files:{app}") as server:
        answer = ask(server, "/", "Accept-Encoding: gzip")
        assert (answer.status, answer.headers.get("content-encoding")) == (200, encoding)


@BOTH
def test_refused_and_failed_handshakes(serve: Any) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with serve() as server:
        for path, status in (("/refuse", 403), ("/fail", 500)):
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://127.0.0.1:{server.port}{path}")
            assert refused.value.response.status_code == status


@BOTH
def test_usage_errors_and_missing_applications(serve: Any) -> None:
    name = serve().command[2]
    assert run(name, APP, "--port", "many").returncode == 2
    assert run(name, "tests.apps.nowhere:app", "--port", "0").returncode == 3
    assert run(name, "tests.apps.beside:nothing", "--port", "0").returncode == 3


@BOTH
def test_the_line_of_a_request_in_the_access_log(serve: Any) -> None:
    with serve("--root-path", "/shop") as server:
        ask(server, "/x%20y?a=b")
        server.wait_for_log(r'INFO: +127\.0\.0\.1:\d+ - "GET [^"]*x%20y\?a=b HTTP/1.1" 200 OK')


@BOTH
@row("a factory without `--factory` is called, with a warning")
def test_a_factory_without_the_flag(serve: Any) -> None:
    with serve(app="tests.apps.beside:factory") as server:
        assert get(server.port).status == 200
        assert re.search("factory", server.log, re.IGNORECASE)


# ---------------------------------------------------------------------------------------------------------- what differs


@row("one process, or several with `--workers`")
def test_a_supervisor_for_one_worker() -> None:
    with peer() as theirs, tricorn() as ours, tricorn("--workers", "0") as alone:
        assert int(get(theirs.port).body) == theirs.pid
        assert int(get(ours.port).body) in children_of(ours.pid)
        assert int(get(alone.port).body) == alone.pid


@row("HUP restarts the workers one after another")
def test_hup() -> None:
    for serve in (peer, tricorn):
        with serve("--workers", "2") as server:
            before = {wait_until(lambda server=server: pid_answering(server)) for _ in range(20)}
            server.send(signal.SIGHUP)
            wait_until_others_answer(server, before)


def pid_answering(server: Server) -> int:
    """0 while nobody answers."""
    with suppress(OSError):
        return int(get(server.port).body)
    return 0


def wait_until_others_answer(server: Server, before: set[int]) -> None:
    wait_until(lambda: (pid := pid_answering(server)) and pid not in before)


@row("`--limit-max-requests` ends the process")
def test_limit_max_requests() -> None:
    with peer("--limit-max-requests", "1") as theirs:
        get(theirs.port)
        theirs.wait_for_exit()
    with tricorn("--limit-max-requests", "1") as ours:
        assert len({get(ours.port).body for _ in range(2)} | {wait_until(lambda: get(ours.port).body)}) >= 1
        wait_until(lambda: ours.log.count("ready in") > 1)
        assert get(ours.port).status == 200


@row("`--timeout-graceful-shutdown`: for ever")
def test_grace() -> None:
    from tricorn.config.options import DEFAULTS

    assert uvicorn.Config(APP, log_config=None).timeout_graceful_shutdown is None
    assert DEFAULTS["timeout_graceful_shutdown"] == 30


@row("`--timeout-worker-healthcheck`: 5 s, a thread answers")
def test_healthcheck() -> None:
    from tricorn.config.options import DEFAULTS

    assert uvicorn.Config(APP, log_config=None).timeout_worker_healthcheck == 5
    assert DEFAULTS["timeout_worker_healthcheck"] == 30


@row("`--interface wsgi`: an adapter of its own")
def test_wsgi() -> None:
    pytest.importorskip("a2wsgi")
    for serve in (peer, tricorn):
        with serve("--interface", "wsgi", app="tests.apps.beside:wsgi") as server:
            assert get(server.port).body == b"wsgi"


@row("a request head of 16 KiB with h11, of any size with httptools")
def test_heads() -> None:
    with peer("--http", "h11") as theirs, peer("--http", "httptools") as lax, tricorn() as ours:
        assert [status_of_a_head(server, 15_000) for server in (theirs, lax, ours)] == [200, 200, 200]
        assert [status_of_a_head(server, 70_000) for server in (theirs, lax, ours)] == [400, 200, 431]


def status_of_a_head(server: Server, size: int) -> int:
    """What a head is answered that has a field of ``size`` bytes, and comes in two pieces: h11 looks at what is incomplete."""
    with raw_connection(server.port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Large: " + b"x" * size)
        wait_until_read(client)
        with suppress(OSError):
            client.sendall(b"\r\n\r\n")
        return read_response(client).status


@row("`--h11-max-incomplete-event-size`")
def test_h11_max_incomplete_event_size() -> None:
    options = ("--h11-max-incomplete-event-size", "1000")
    with peer("--http", "h11", *options) as theirs, tricorn(*options) as ours:
        assert [status_of_a_head(server, 2_000) for server in (theirs, ours)] == [400, 431]


@row("`sys.exit()` in a task that a request has started ends the process")
def test_sys_exit() -> None:
    with peer() as theirs:
        with suppress(OSError):
            ask(theirs, "/task-exits")
        theirs.wait_for_exit()
    with tricorn() as ours:
        before = ask(ours, "/task-exits").body
        assert get(ours.port).body == before


@row("`sys.exit()` in a callback of the event loop (`call_soon`) ends the process")
def test_sys_exit_in_a_callback() -> None:
    for server in (peer(), tricorn("--workers", "0")):
        with server:
            with suppress(OSError, HTTPException):
                ask(server, "/callback-exits")
            server.wait_for_exit()


@row("WSGI: a header `Remote_User` can't be told from `Remote-User`")
def test_underscores_for_wsgi() -> None:
    pytest.importorskip("a2wsgi")
    told = []
    for serve in (peer, tricorn):
        with serve("--interface", "wsgi", app="tests.apps.beside:wsgi") as server:
            told.append(ask(server, "/", "Remote_User: admin").headers["seen"])
    assert told == ["admin", "nobody"]


@row("a request that takes longer than the grace: 500, logged as an error")
def test_what_the_grace_was_too_short_for() -> None:
    for serve, status, logged in ((peer, 500, True), (tricorn, 503, False)):
        with serve("--timeout-graceful-shutdown", "1") as server, raw_connection(server.port) as client:
            send_request(client, "/waits")
            server.wait_for_log("waiting for ever")
            server.send(signal.SIGTERM)
            assert read_response(client).status == status
            server.wait_for_exit()
            assert ("Exception in ASGI application" in server.log) is logged


@row("each body message of a stream is a chunk on the wire")
def test_chunks() -> None:
    def chunks(server: Server) -> list[bytes]:
        with raw_connection(server.port) as client:
            send_request(client, "/stream", "Connection: close")
            text = b"".join(iter(lambda: client.recv(65536), b""))
        return re.findall(rb"^([0-9a-f]+)\r$", text.partition(b"\r\n\r\n")[2], re.MULTILINE)

    with peer() as theirs, tricorn() as ours:
        assert chunks(theirs) == [b"3", b"3", b"5", b"0"]
        assert sum(int(size, 16) for size in chunks(ours)) == 11


def test_a_message_close_behind_another_waits_for_a_handler_that_blocks(tmp_path: Path) -> None:
    """The row on chunks says so."""

    def second_comes_at_once(server: Server) -> bool:
        until = tmp_path / "until"
        until.unlink(missing_ok=True)
        with raw_connection(server.port) as client:
            send_request(client, f"/two-then-block?{until}", "Connection: close")
            got = b""
            client.settimeout(0.5)
            with suppress(TimeoutError):
                while b"second" not in got:
                    got += client.recv(65536)
            until.touch()
            client.settimeout(60)
            assert b"second" in got + b"".join(iter(lambda: client.recv(65536), b""))
            return b"second" in got

    with peer() as theirs, tricorn() as ours:
        wait_until(lambda: second_comes_at_once(theirs))
        # Not each time: on a machine under load there may be half a millisecond between the two.
        wait_until(lambda: not second_comes_at_once(ours))


@row("`send` to an HTTP client that has left does nothing, for ever")
def test_sending_to_a_client_that_has_left() -> None:
    for serve, seconds, outcome in ((peer, 3, "sending did nothing"), (tricorn, 60, "sending raised")):
        with serve() as server:
            with raw_connection(server.port) as client:
                send_request(client, f"/send-on?{seconds}")
                assert client.recv(100)
            server.wait_for_log(outcome)


@row("`contextvars` that a request sets can be seen by a later one of its connection, without `--reset-contextvars`")
def test_contexts_of_pipelined_requests() -> None:
    for serve, second in ((peer, b"another request was here"), (tricorn, b"nothing")):
        with serve(app="tests.apps.interfaces:context") as server, raw_connection(server.port) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.makefile("rb").read().endswith(second)


@row("a client that half-closes behind its request (`nc -N`) gets nothing")
def test_half_closed_connections() -> None:
    for serve, body in ((peer, b""), (tricorn, b"late")):
        with serve() as server, raw_connection(server.port) as client:
            send_request(client, "/late")
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read().rpartition(b"\r\n")[2] == body
            if serve is tricorn:
                with raw_connection(server.port) as patient:
                    send_request(patient, "/listens")
                    patient.shutdown(socket.SHUT_WR)
                    assert patient.makefile("rb").read() == b""


@row("a client that reads nothing keeps its connection for ever")
def test_a_client_that_reads_nothing() -> None:
    def error(client: socket.socket) -> int:
        return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    big = "tests.apps.tells:app"
    with tricorn("--timeout-send", "1", app=big) as ours, raw_connection(ours.port) as client:
        send_request(client, "/big")
        wait_until(lambda: error(client))
    with peer(app=big) as theirs, raw_connection(theirs.port) as client:
        send_request(client, "/big")
        pass_time(3)
        assert not error(client)


@row("an upload may trickle for ever")
def test_an_upload_that_pauses() -> None:
    upload = "tests.apps.tells:app"
    with tricorn("--timeout-request-body", "1", app=upload) as ours, raw_connection(ours.port) as client:
        send_request(client, "/upload", "Content-Length: 5", method="POST")
        assert read_response(client).status == 408
    with peer(app=upload) as theirs, raw_connection(theirs.port) as client:
        send_request(client, "/upload", "Content-Length: 5", method="POST")
        pass_time(3)
        client.sendall(b"hello")
        assert read_response(client).body == b"5"


@row("the soft limit of open files stays")
def test_the_soft_limit_of_open_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        with peer() as theirs, tricorn() as ours:
            wait_until(lambda: ours.port and theirs.port)
            assert resource.prlimit(theirs.pid, resource.RLIMIT_NOFILE)[0] == 512
            assert resource.prlimit(ours.pid, resource.RLIMIT_NOFILE)[0] == min(before[1], 524288)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@row("no `http.response.pathsend`")
def test_pathsend() -> None:
    with peer() as theirs, tricorn() as ours, tricorn("--pathsend") as sends:
        assert "extensions" not in scope_seen(theirs, "/scope")
        assert "http.response.pathsend" not in scope_seen(ours, "/scope")["extensions"]
        assert "http.response.pathsend" in scope_seen(sends, "/scope")["extensions"]


@row("loggers `uvicorn.error`, `uvicorn.access`")
def test_loggers() -> None:
    for name, said in (("uvicorn", "uvicorn.error"), ("tricorn", "tricorn.error")):
        text = (
            f"import logging, {name}\nlogging.lastResort = None\n{name}.Config('a:b')\nprint(*logging.root.manager.loggerDict)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", text], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
        )
        assert said in ended.stdout.split()


@row("the process ends by the signal that stopped it")
def test_exit_codes_of_signals() -> None:
    with peer() as theirs, tricorn() as ours:
        assert theirs.stop(signal.SIGTERM) == -signal.SIGTERM
        assert ours.stop(signal.SIGTERM) == 0
    with peer() as theirs, tricorn() as ours:
        assert theirs.stop(signal.SIGINT) == ours.stop(signal.SIGINT) == 0


@row("an address that can't be had: the application is started first, exit code 3")
def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        theirs, ours = run("uvicorn", APP, "--port", port), run("tricorn", APP, "--port", port)
    assert (theirs.returncode, ours.returncode) == (3, 1)
    assert "Application startup complete" in theirs.stderr
    assert ours.stderr.startswith(f"Error: --port {port}: port {port} is in use by ")
    assert ours.stderr.count("\n") == 1


@row("`Invalid HTTP request received.` for every mistake")
def test_wording_of_refusals() -> None:
    with peer("--http", "h11") as theirs, tricorn() as ours:
        assert ask(theirs, "/", "no colon").body == b"Invalid HTTP request received."
        assert (ask(ours, "/", "no colon").status, b"Invalid HTTP" in ask(ours, "/", "no colon").body) == (400, False)


@row("the head leaves with `http.response.start`")
def test_the_head_waits_for_the_body() -> None:
    with peer() as theirs, raw_connection(theirs.port) as client:
        send_request(client, "/held")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    with tricorn() as ours, raw_connection(ours.port, timeout=0.5) as client:
        send_request(client, "/held")
        ours.wait_for_log("body held")
        with pytest.raises(TimeoutError):
            client.recv(100)


@row("an application that fails between head and body: 200, broken off")
def test_failing_between_head_and_body() -> None:
    from http.client import IncompleteRead

    with peer() as theirs, tricorn() as ours:
        with pytest.raises(IncompleteRead):
            ask(theirs, "/fail-between")
        assert ask(ours, "/fail-between").status == 500


@row("a body that does not fit its Content-Length: broken off")
def test_a_body_that_is_too_short() -> None:
    from http.client import IncompleteRead

    with peer() as theirs, tricorn() as ours:
        with pytest.raises(IncompleteRead):
            ask(theirs, "/short")
        assert ask(ours, "/short").status == 500


@row("a whole body without Content-Length: in chunks")
def test_a_whole_body_gets_its_length() -> None:
    with peer() as theirs, tricorn() as ours:
        assert ask(theirs, "/").headers["transfer-encoding"] == "chunked"
        assert ask(ours, "/").headers["content-length"] == str(len(ask(ours, "/").body))


@row("a WebSocket whose application fails: the connection is cut")
def test_a_websocket_whose_application_fails() -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    codes = []
    with peer() as theirs, tricorn() as ours:
        for server in (theirs, ours):
            with connect(f"ws://127.0.0.1:{server.port}/fail-later") as client:
                client.recv()
                with pytest.raises(ConnectionClosed) as closed:
                    client.recv(timeout=30)
                codes.append(closed.value.rcvd.code if closed.value.rcvd else None)
    assert codes == [None, 1011]


@row("the access log has a line when a response begins")
def test_when_the_access_log_speaks() -> None:
    with peer() as theirs, raw_connection(theirs.port) as client:
        send_request(client, "/held")
        theirs.wait_for_log("GET /held HTTP/1.1")
    with tricorn() as ours, raw_connection(ours.port) as client:
        send_request(client, "/held")
        ours.wait_for_log("body held")
        get(ours.port)
        ours.wait_for_log("GET / HTTP/1.1")
        assert "GET /held" not in ours.log


@row("log lines begin with the level")
def test_what_log_lines_begin_with() -> None:
    for server, begins in ((peer(), "INFO:     "), (tricorn(), r"\d{4}-\d\d-\d\dT[\d:.]+Z INFO:     worker 0 \[\d+\]: ")):
        server.env.pop("TRICORN_LOG_TIME")
        server.command += ["--port", "0"] if "--port" not in server.command else []
        with server:
            assert get(server.port).status == 200
            server.wait_for_log(rf'(?m)^{begins}127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK$')


@row("APP is `MODULE:ATTRIBUTE`")
def test_an_application_by_its_module() -> None:
    module = APP.partition(":")[0]
    refused = run("uvicorn", module, "--port", "0")
    assert refused.returncode != 0
    with tricorn(app=module) as ours:
        assert get(ours.port).status == 200


@row("`--http2` (needs zttp, off by default)")
def test_http2_is_on_by_default() -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    for options, begins in (((), b"\0\0"), (("--no-http2",), b"HTTP/1.1 ")):
        with tricorn(*options) as ours, raw_connection(ours.port) as client:
            client.sendall(preface)
            # The server's own SETTINGS, or a refusal in HTTP/1.1.
            assert client.recv(9).startswith(begins)


def test_every_row_of_the_page_has_a_test() -> None:
    page = (ROOT / "docs" / "from-uvicorn.md").read_text()
    table = page.partition("| uvicorn | Tricorn |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
    assert len(rows) > 10
    assert [one for one in rows if one not in ROWS] == []
    assert [one for one in ROWS if one not in rows] == []
