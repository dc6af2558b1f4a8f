"""Clients that half-close behind their requests, as ``nc -N`` does, get all answers, however late the server reads the FIN."""

from __future__ import annotations

import socket

import pytest
from support.harness import Server, raw_connection

APP = "tests.apps.half_close:app"
LAST = "Connection: close\r\n"
WHOLE = b"part 2\n\r\n0\r\n\r\n"


def request(path: str, *fields: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{''.join(fields)}\r\n".encode()


def ask(server: Server, *requests: bytes) -> bytes:
    """Send them, half-close, and read to the end."""
    with raw_connection(server.port) as client:
        client.sendall(b"".join(requests))
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_half_closes_gets_its_answers(loop: str) -> None:
    with Server(APP, "--loop", loop) as server:
        assert ask(server, request("/slow"), request("/stream", LAST)).endswith(WHOLE), "behind a slow request"
        assert ask(server, request("/block", LAST)).endswith(WHOLE), "behind its own handler, which blocks the loop"
        with raw_connection(server.port) as other:
            other.sendall(request("/block"))
            server.wait_for_log("blocks", count=2)
            assert ask(server, request("/stream", LAST)).endswith(WHOLE), "behind another's handler, which blocks the loop"
