"""An exception that is no Exception is its request's alone: that gets a 500 or breaks off, and everything else goes on."""

from __future__ import annotations

import signal
import threading
from http.client import IncompleteRead
from pathlib import Path

import pytest
from support.harness import Response, Server, get, raw_connection, run_tricorn, wait_until
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

APP = "tests.apps.base_exceptions:app"
KINDS = {
    "panic": "PanicException: rust panicked",
    "exit": "SystemExit: 2",
    "interrupt": "KeyboardInterrupt",
    "cancelled": "CancelledError",
    "generator": "GeneratorExit",
    "group": "BaseExceptionGroup: several",
}
LOOPS = ("asyncio", "uvloop")
EVERYWHERE = pytest.mark.parametrize(
    "arguments", [(f"--loop={loop}", f"--workers={count}") for loop in LOOPS for count in (0, 1)], ids=" ".join
)


@EVERYWHERE
def test_it_ends_its_own_request_and_nothing_else(arguments: tuple[str, ...], tmp_path: Path) -> None:
    may_answer = tmp_path / "may answer"
    answers: list[Response] = []
    with Server(APP, *arguments, env={"MAY_ANSWER": str(may_answer)}) as server:
        other = threading.Thread(target=lambda: answers.append(get(server.port, "/wait")))
        other.start()
        server.wait_for_log("waits")
        pid = get(server.port, "/").body
        logged = 0
        for kind, text in KINDS.items():
            for where in ("handler", "thread", "task"):
                assert get(server.port, f"/{where}/{kind}").status == 500, (where, kind)
            with pytest.raises(IncompleteRead) as broken:
                get(server.port, f"/partial/{kind}")
            assert broken.value.partial == b"partial"
            end_of_websocket(server.port, f"/websocket/{kind}")
            logged += 5
            server.wait_for_log(r"Exception in ASGI application: (GET|WebSocket) /", logged)
            server.wait_for_log(rf"(?m)^[| ]*[\w.+ ]*{text}", 5)
        may_answer.touch()
        other.join()
        assert [(answer.status, answer.body) for answer in answers] == [(200, pid)]
        assert get(server.port, "/").body == pid
        assert server.stop(signal.SIGINT) == 0
        assert "Exception in ASGI lifespan" in server.log


def end_of_websocket(port: int, path: str) -> None:
    with connect(f"ws://127.0.0.1:{port}{path}") as websocket:
        websocket.send("go on")
        with pytest.raises(ConnectionClosedError) as closed:
            websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_application_that_does_not_start(kind: str, loop: str) -> None:
    ended = run_tricorn("tests.apps.base_exceptions:fails_to_start", "--port=0", f"--loop={loop}", env={"AT_STARTUP": kind})
    assert ended.returncode == 3
    assert KINDS[kind] in ended.stderr
    assert "never retrieved" not in ended.stderr


@EVERYWHERE
def test_what_the_server_cancels_is_no_error_and_is_told(arguments: tuple[str, ...]) -> None:
    with (
        Server(APP, *arguments, "--timeout-graceful-shutdown=0.5", env={"MAY_ANSWER": "/nowhere"}) as server,
        raw_connection(server.port) as connection,
    ):
        connection.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_log("waits")
        assert server.stop() == 0
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert "Exception in ASGI application" not in server.log
        wait_until(lambda: '"GET /wait HTTP/1.1" 503' in server.log)
