"""WebSocket against a real server: options, a drain, a reload, frameworks, and the Autobahn suite."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
from support.harness import PATIENCE, ROOT, Server, environment, get, raw_connection, read_response, send_request

pytest.importorskip("websockets", reason="websockets, the client of these tests, is not installed")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

APP = "tests.apps.websocket:app"
AUTOBAHN = os.environ.get("TRICORN_AUTOBAHN", "")
"""A program that is called as ``PROGRAM PORT GROUPS -- COMMAND...`` and prints the suite's verdicts."""
GROUPS = os.environ.get("TRICORN_AUTOBAHN_GROUPS", "quick")
"""Both are read before the tests' environment is cleared."""


def dial(server: Server, path: str = "/", **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=PATIENCE, **options)


def code_of(client: ClientConnection) -> int:
    """The code with which the server closes."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("ws", ["auto", "wsproto", "websockets"])
@pytest.mark.parametrize("deflate", ["true", "false"])
def test_echo_of_all_sizes(ws: str, loop: str, deflate: str) -> None:
    with Server(APP, "--ws", ws, "--loop", loop, "--ws-per-message-deflate", deflate) as server:
        server.wait_for_ready(1)
        with dial(server, max_size=None) as client:
            assert bool(client.protocol.extensions) is (deflate == "true")
            for size in (0, 1, 125, 126, 65535, 65536, 3_000_000):
                text, data = "ä" * size, bytes(range(256)) * (size // 256 + 1)
                client.send(text)
                client.send(data)
                assert client.recv(timeout=PATIENCE) == text
                assert client.recv(timeout=PATIENCE) == data
        assert server.stop() == 0
        assert "ERROR" not in server.log


def test_ws_none_answers_as_if_nothing_had_been_asked() -> None:
    with Server(APP, "--ws", "none") as server:
        server.wait_for_ready(1)
        with raw_connection(server.port) as connection:
            upgrade = ["Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Version: 13"]
            send_request(connection, "/", *upgrade, "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==")
            assert read_response(connection).status == 200


def test_limits_and_failures() -> None:
    with Server(APP, "--ws-max-size", "1000") as server:
        server.wait_for_ready(1)
        with dial(server) as client:
            client.send("x" * 1000)
            assert client.recv(timeout=PATIENCE) == "x" * 1000
            client.send("x" * 100_000)
            assert code_of(client) == 1009
        with dial(server, "/fail") as client:
            assert code_of(client) == 1011
        with pytest.raises(InvalidStatus) as caught:
            dial(server, "/nowhere")
        assert caught.value.response.status_code == 403
        assert server.stop() == 0
        assert server.log.count("ValueError: the application's own fault") == 1


def test_a_silent_client_is_given_up() -> None:
    with Server(APP, "--ws-ping-interval", "1", "--ws-ping-timeout", "3") as server:
        server.wait_for_ready(1)
        with raw_connection(server.port) as connection, dial(server) as alive:
            send_request(
                connection,
                "/why",
                "Upgrade: websocket",
                "Connection: upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
            )
            data = b""
            while chunk := connection.recv(4096):
                data += chunk
            assert data.endswith(b"\x88\x18\x03\xf3keepalive ping timeout")
            server.wait_for_log("told 1006")
            alive.send("still here")
            assert alive.recv(timeout=PATIENCE) == "still here"


def test_the_access_log_tells_of_opening_and_end() -> None:
    with Server(APP) as server:
        server.wait_for_ready(1)
        with dial(server, "/?room=1") as client:
            client.close(4000)
        server.wait_for_log(r'INFO:     127\.0\.0\.1:\d+ - "WebSocket /\?room=1" \[accepted\]\n')
        server.wait_for_log(r'INFO:     127\.0\.0\.1:\d+ - "WebSocket /\?room=1" \[connection closed 4000\]\n')


# The end of a worker.


@pytest.mark.parametrize("ws", ["auto", "websockets"])
def test_a_stop_closes_with_1012(ws: str) -> None:
    with Server(APP, "--ws", ws) as server:
        server.wait_for_ready(1)
        with dial(server, "/why") as client:
            server.send(signal.SIGTERM)
            assert code_of(client) == 1012
            # Well before the grace of thirty seconds.
            assert server.wait_for_exit(15) == 0
        assert "told 1012" in server.log


def test_a_client_that_never_answers_does_not_outlast_the_grace() -> None:
    with Server(APP, "--timeout-graceful-shutdown", "2") as server:
        server.wait_for_ready(1)
        with raw_connection(server.port) as connection:
            upgrade = ["Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Version: 13"]
            send_request(connection, "/", *upgrade, "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==")
            assert b" 101 " in connection.recv(4096)
            server.send(signal.SIGTERM)
            assert connection.recv(4096) == b"\x88\x02\x03\xf4"
            assert server.wait_for_exit(15) == 0


def test_a_reload_moves_clients_to_the_new_worker() -> None:
    """Workers are replaced one by one, so a client may meet one that is still to go, and is moved again."""
    with Server(APP, "--workers", "2") as server:
        before = server.wait_for_workers(2)
        moves = 0
        while True:
            with dial(server, "/pid") as client:
                if int(client.recv(timeout=PATIENCE)) not in before:
                    client.send("still served")
                    assert client.recv(timeout=PATIENCE) == "still served"
                    break
                if not moves:
                    server.send(signal.SIGHUP)
                assert code_of(client) == 1012
                moves += 1
        assert 1 <= moves <= 2
        assert not set(before) & set(server.wait_for_workers(2))


def test_a_worker_full_of_websockets_drains_at_once() -> None:
    with Server(APP) as server:
        server.wait_for_ready(1)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(dial(server)) for _ in range(50)]
            server.send(signal.SIGHUP)
            assert {code_of(client) for client in clients} == {1012}
            server.wait_for_log("drained")
        assert server.stop() == 0


# Frameworks.


def test_starlette_and_fastapi() -> None:
    with Server("tests.apps.starlette_websocket:app") as server:
        server.wait_for_ready(1)
        with dial(server, "/upper", subprotocols=["shout"]) as client:
            assert client.subprotocol == "shout"
            assert client.response is not None
            assert client.response.headers["x-room"] == "1"
            client.send("quiet")
            assert client.recv(timeout=PATIENCE) == "QUIET"
        with pytest.raises(InvalidStatus) as caught:
            dial(server, "/deny")
        assert (caught.value.response.status_code, caught.value.response.body) == (401, b"no entry")
        with pytest.raises(InvalidStatus) as caught:
            dial(server, "/api/items/1")
        assert caught.value.response.status_code == 403
        with dial(server, "/api/items/7?token=x") as client:
            client.send(json.dumps([1, 2]))
            assert json.loads(client.recv(timeout=PATIENCE)) == {"item": 7, "data": [1, 2]}
            client.close(1001)
        server.wait_for_log("disconnected with 1001")
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_django_channels() -> None:
    pytest.importorskip("channels", reason="Django Channels is not installed")
    with Server("tests.apps.channels_app:app") as server:
        server.wait_for_ready(1)
        assert get(server.port).body == b"a view"
        with dial(server, "/room") as one, dial(server, "/room") as two:
            one.send('{"text": "hello"}')
            assert json.loads(one.recv(timeout=PATIENCE)) == json.loads(two.recv(timeout=PATIENCE)) == {"text": "hello"}
        with dial(server, "/sync") as client:
            client.send(b"\x00\x01")
            assert client.recv(timeout=PATIENCE) == b"\x00\x01"
            client.send("close")
            assert client.recv(timeout=PATIENCE) == "close"
            assert code_of(client) == 4321
        assert server.stop() == 0
        assert "Traceback" not in server.log


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]])
def test_socketio(transports: list[str]) -> None:
    """Not by polling alone: the client of python-engineio waits for its last poll, which the server leaves open for 30 s."""
    socketio = pytest.importorskip("socketio", reason="python-socketio is not installed")
    for needed in ("websocket", "requests"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"python-socketio's client needs {needed}, which is not installed")
    with Server("tests.apps.socketio_app:app") as server:
        server.wait_for_ready(1)
        client = socketio.SimpleClient()
        client.connect(f"http://127.0.0.1:{server.port}", transports=transports)
        assert client.receive(timeout=PATIENCE)[0] == "hello"
        assert client.call("shout", "quiet") == "QUIET"
        assert client.transport == transports[-1]
        client.disconnect()
        assert server.stop() == 0
        assert "Traceback" not in server.log


# The Autobahn suite.


@pytest.fixture
def unused_port() -> int:
    """A port that the kernel has just picked and nobody has: the suite's runner has to know it before it starts the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(not AUTOBAHN, reason="the Autobahn suite is not at hand: TRICORN_AUTOBAHN names no program that runs it")
@pytest.mark.parametrize("ws", ["auto", "wsproto", "websockets"])
def test_autobahn(ws: str, unused_port: int) -> None:
    command = [sys.executable, "-m", "tricorn", APP, "--port", str(unused_port), "--ws", ws, "--no-access-log"]
    ended = subprocess.run(
        [AUTOBAHN, str(unused_port), GROUPS, "--", *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "FAILED" not in ended.stdout
    *_, odd = ended.stdout.splitlines()
    assert odd.count("NON-STRICT") <= 2, ended.stdout
