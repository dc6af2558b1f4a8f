"""The access log says what was sent: whole responses, those that broke off, and those whose clients left before."""

from __future__ import annotations

import socket
import struct

import pytest
from support.harness import Client, Server, get, raw_connection, send_request

APP = "tests.apps.idle_stream:app"
EVENT = b"data: hello\n\n"
SIZE = 6_000_000
"""Bytes, as in tests/apps/large.py: more than the kernel holds for a client that does not read."""
JSON = (
    r'"method": "GET", "path": "{path}", "query": "[^"]*", "version": "1\.1", "status": {status}, "bytes": {size}, '
    r'"seconds": \d+\.\d+'
)
FORMATS = {
    "plain": ((), r'INFO:     127\.0\.0\.1:\d+ - "GET {path} HTTP/1\.1" {status}\b'),
    "json": (("--log-format=json",), JSON),
    "full json": (("--access-log-format=json",), JSON + r'.*, "user_agent": ".*"'),
    "gunicorn's": (("--access-log-format=%(r)s %(s)s %(B)s %(D)s",), r"GET {path} HTTP/1\.1 {status} {size} [1-9]\d+\n"),
    "logging": (("--log-config=tests/apps/logging.ini",), r'tricorn\.access .* - "GET {path} HTTP/1\.1" {status}\n'),
}


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_clients_that_left(name: str, loop: str) -> None:
    """With nginx's 499, and with the bytes that went out: of a stream, and where nothing was sent."""
    arguments, line = FORMATS[name]
    with Server(APP, "--loop", loop, *arguments) as server:
        for path, size in (("/stream", len(EVENT)), ("/slow", 0)):
            with raw_connection(server.port) as client:
                send_request(client, f"{path}?seconds=0.3")
                if size:
                    while EVENT not in client.recv(4096):
                        pass
                else:
                    server.wait_for_log("slow begins")
                reset(client)
            target = path if "json" in name else rf"{path}\?seconds=0\.3"
            server.wait_for_log(line.format(path=target, status=499, size=size))
        # What the application does for them after that changes nothing.
        server.wait_for_log("background task done")
        client_of = Client(server.port)
        assert client_of.get("/unfinished").status == 200
        server.wait_for_log(line.format(path="/unfinished", status=200, size=1))
        assert server.log.count("/slow") == server.log.count("/stream") == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_large_response_of_which_the_client_took_little(loop: str) -> None:
    """It is complete when the application has sent it, and over when the client has it or has left."""
    with Server("tests.apps.large:app", "--loop", loop, "--access-log-format=%(r)s %(s)s %(B)s") as server:
        with raw_connection(server.port) as client:
            send_request(client, "/whole")
            assert client.recv(100)
            assert get(server.port, "/little").body == b"ok"
            server.wait_for_log("GET /little")
            assert "GET /whole" not in server.log
            reset(client)
        line = server.wait_for_log(r"GET /whole HTTP/1\.1 (\d+) (\d+)\n")
        assert line[1] == "499"
        assert 0 < int(line[2]) < SIZE
        assert len(Client(server.port).get("/whole").body) == SIZE
        server.wait_for_log(rf"GET /whole HTTP/1\.1 200 {SIZE}\n")


def test_a_client_that_only_closed_its_side() -> None:
    """It asked long ago, so it has left, and an answer that is sent all the same reaches nobody."""
    with Server(APP) as server:
        with raw_connection(server.port) as client:
            send_request(client, "/slow?seconds=2")
            server.wait_for_log("slow begins")
            client.settimeout(0.7)
            with pytest.raises(TimeoutError):
                client.recv(1)
        server.wait_for_log("background task done")
        server.wait_for_log(r'"GET /slow\?seconds=2 HTTP/1.1" 499')


def test_a_client_that_half_closes_and_gets_its_answer() -> None:
    with Server(APP) as server, raw_connection(server.port) as client:
        send_request(client, "/unfinished")
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
        server.wait_for_log('"GET /unfinished HTTP/1.1" 200')


@pytest.mark.parametrize("name", ["plain", "gunicorn's"])
def test_a_response_that_the_application_broke_off(name: str) -> None:
    arguments, line = FORMATS[name]
    with Server("tests.apps.base_exceptions:app", *arguments) as server:
        with raw_connection(server.port) as client:
            send_request(client, "/partial/panic")
            while client.recv(4096):
                pass
        server.wait_for_log(line.format(path="/partial/panic", status=200, size=len(b"partial")))
        with raw_connection(server.port) as client:
            send_request(client, "/handler/panic")
            while client.recv(4096):
                pass
        server.wait_for_log(line.format(path="/handler/panic", status=500, size=len(b"Internal Server Error")))


def test_a_body_that_was_refused_is_logged_with_its_request() -> None:
    with Server("tests.apps.probe:app", "--limit-request-body=10") as server, raw_connection(server.port) as client:
        send_request(client, "/upload", "Content-Length: 100", method="POST")
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
        server.wait_for_log(r'"POST /upload HTTP/1.1" 413')
        assert '"- - HTTP' not in server.log


def test_clients_that_left_count_for_the_limit_of_requests() -> None:
    with Server(APP, "--limit-max-requests=2") as server:
        for _ in range(2):
            with raw_connection(server.port) as client:
                send_request(client, "/stream")
                while EVENT not in client.recv(4096):
                    pass
                reset(client)
        server.wait_for_log("--limit-max-requests 2 reached")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), r'"GET /base/a%22b%5Cc\?%22 HTTP/1\.1" 404 Not Found'),
        (("--log-format=json",), r'"path": "/base/a%22b%5Cc", "query": "%22"'),
        (
            ("--access-log-format", '"%(r)s" %(s)s "%(f)s" "%(a)s"'),
            r'"GET /base/a%22b%5Cc\?%22 HTTP/1\.1" 404 "\\"r" "agent\\\\"\n',
        ),
    ],
    ids=["plain", "json", "gunicorn's"],
)
def test_what_a_client_sends_stays_within_its_field(arguments: tuple[str, ...], line: str) -> None:
    """And the path is the one that uvicorn logs: with --root-path."""
    with Server("tests.apps.probe:app", "--root-path=/base", *arguments) as server, raw_connection(server.port) as client:
        send_request(client, '/a"b\\c?"', "User-Agent: agent\\", 'Referer: "r')
        assert client.recv(4096).startswith(b"HTTP/1.1 404")
        server.wait_for_log(line)


def test_websockets_too() -> None:
    with Server("tests.apps.probe:app", "--root-path=/base") as server, raw_connection(server.port) as client:
        upgrade = (
            "Upgrade: websocket",
            "Connection: upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + "A" * 22 + "==",
        )
        send_request(client, '/a"b', *upgrade)
        assert client.recv(4096).startswith(b"HTTP/1.1 500")
        server.wait_for_log('"WebSocket /base/a%22b" 500')
