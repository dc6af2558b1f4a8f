"""A client that has left before the server ends its request: 499, not the server's 504 or 503."""

from __future__ import annotations

import re
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.h2_raw import BEGIN, GET, request
from support.harness import PATIENCE, Server, raw_connection, wait_until_read

APP = "tests.apps.takes_long:app"
NO_TIME = struct.pack("ii", 1, 0)
"""SO_LINGER: a close resets."""
CASES = [("1.1", "closes"), ("1.1", "resets"), ("2", "closes"), ("2", "resets")]
"""The version of HTTP, and how the client leaves."""


def ask(version: str, path: str) -> bytes:
    if version == "1.1":
        return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    pseudo = tuple((name, path if name == "path" else value) for name, value in GET)
    return BEGIN + request(1, pseudo=pseudo)


def leave(client: socket.socket, how: str) -> None:
    if how == "resets":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
    client.close()


def check(server: Server, version: str, target: str, seconds: float) -> None:
    target = re.escape(target)
    server.wait_for_log(f'"GET {target} HTTP/{version}" 499')
    server.wait_for_log(
        f"GET {target}: --timeout-request {seconds:g} s passed, its client had closed the connection; it waited"
    )
    assert not re.search(r"(answered|\") 504", server.log)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_left_first_is_499(loop: str) -> None:
    with Server(APP, "--timeout-request", "3", "--loop", loop) as server:
        server.wait_for_ready(1)
        with ExitStack() as stack:
            clients = [(stack.enter_context(raw_connection(server.port)), *case) for case in CASES]
            for client, version, how in clients:
                client.sendall(ask(version, f"/never?{how}"))
            for client, _, how in clients:
                # A reset right behind the request would take it away.
                wait_until_read(client)
                leave(client, how)
        for version, how in CASES:
            check(server, version, f"/never?{how}", 3)


@pytest.mark.parametrize(("version", "how"), CASES)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_left_a_blocked_event_loop_is_499(loop: str, version: str, how: str, tmp_path: Path) -> None:
    left = tmp_path / "left"
    with Server(APP, "--timeout-request", "0.5", "--loop", loop) as server, raw_connection(server.port) as client:
        server.wait_for_ready(1)
        client.sendall(ask(version, f"/block?{left}"))
        wait_until_read(client)
        leave(client, how)
        left.touch()
        check(server, version, f"/block?{left}", 0.5)


def test_a_client_that_left_before_a_stop_is_499() -> None:
    with Server(APP, "--timeout-graceful-shutdown", "0.2") as server:
        server.wait_for_ready(1)
        with raw_connection(server.port) as client:
            client.sendall(ask("1.1", "/never"))
        assert server.stop() == 0
        assert '"GET /never HTTP/1.1" 499' in server.log


def test_a_client_that_only_half_closes_a_unix_socket_is_504(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        Server(APP, "--timeout-request", "0.5", listen=("--uds", str(path))) as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        server.wait_for_log("Serving")
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(ask("1.1", "/never"))
        client.shutdown(socket.SHUT_WR)
        assert client.recv(12) == b"HTTP/1.1 504"
        server.wait_for_log(r'"GET /never HTTP/1.1" 504')
