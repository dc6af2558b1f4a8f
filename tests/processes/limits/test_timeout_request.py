"""``--timeout-request``: a request that takes too long is cancelled where it waits."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import pytest
from support.harness import Client, Server, get, pass_time, raw_connection
from support.websocket_wire import TEXT, client_frame, server_frames
from support.websocket_wire import request as handshake

APP = "tests.apps.takes_long:app"
OPTIONS = ("--timeout-request", "0.5", "--timeout-request-exempt", "/exempt")


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(APP, *OPTIONS, "--loop", request.param) as server:
        server.wait_for_ready(1)
        yield server


def test_nothing_was_sent_so_it_is_504(server: Server) -> None:
    began = time.monotonic()
    answer = get(server.port, "/never")
    took = time.monotonic() - began
    assert answer.status == 504
    assert 0.5 <= took < 10
    assert "cancelled" in get(server.port).body.decode().split()
    server.wait_for_log(r'"GET /never HTTP/1.1" 504')
    line = r"GET /never: --timeout-request 0.5 s passed, answered 504; it waited at tests/apps/takes_long.py:13 wait"
    server.wait_for_log(line)
    assert "Traceback" not in server.log


def test_the_handler_is_found_in_a_task_of_its_own(server: Server) -> None:
    assert get(server.port, "/task").status == 504
    server.wait_for_log(
        r"GET /task: --timeout-request 0.5 s passed, answered 504; it waited at tests/apps/takes_long.py:13 wait"
    )


def test_a_response_that_has_begun_breaks_off(server: Server) -> None:
    client = Client(server.port)
    client.request("GET", "/stream")
    answer = client.getresponse()
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    client.close()
    server.wait_for_log(
        r"GET /stream: --timeout-request 0.5 s passed, its response \(200\) broken off; it waited at tests/apps/"
    )


def test_what_is_exempt_goes_on_and_so_does_what_is_behind_a_response(server: Server) -> None:
    assert get(server.port, "/exempt/stream").body.startswith(b"0\n1\n2\n3\n4\n5\n6\n7\n")
    assert get(server.port, "/behind").status == 200
    server.wait_until(lambda: "behind" in get(server.port).body.decode().split())


def test_a_thread_can_t_be_cancelled_but_its_client_is_answered(server: Server) -> None:
    began = time.monotonic()
    assert get(server.port, "/thread").status == 504
    assert time.monotonic() - began < 10


def test_an_application_that_goes_on_has_no_say_any_more(server: Server) -> None:
    answer = get(server.port, "/stubborn")
    assert answer.status == 504
    server.wait_until(lambda: "stubborn" in get(server.port).body.decode().split())


def test_a_websocket_is_no_request(server: Server) -> None:
    with raw_connection(server.port) as client:
        client.sendall(handshake() + client_frame(TEXT, b"late"))
        received = b""
        while not received.endswith(b"late"):
            received += client.recv(4096)
        assert list(server_frames(received.partition(b"\r\n\r\n")[2])) == [(TEXT, b"late")]


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_without_a_supervisor_and_with_other_codecs(http: str) -> None:
    with Server(APP, *OPTIONS, "--workers", "0", "--http", http) as server:
        assert get(server.port, "/never").status == 504
        server.wait_for_log(r"GET /never: --timeout-request")
        assert server.stop() == 0


def test_the_tenth_request_on_a_connection_has_as_much_time_as_the_first(server: Server) -> None:
    client = Client(server.port)
    for _ in range(3):
        pass_time(0.4)
        assert client.get("/").status == 200
    assert client.get("/never").status == 504
    client.close()
