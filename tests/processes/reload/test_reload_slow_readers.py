"""A save in the middle of a response that is taken slowly: it arrives whole, and the next is by the new code."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from support.editing import Project, living_workers, wait_until_replaced, wait_until_watching
from support.harness import PATIENCE, read_response, send_request
from tricorn.supervisor.phases import DELIVERING, DRAIN_MARGIN

SIZE = 16_000_000
"""Bytes: more than the kernel takes in the client's place."""
LARGE = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d")]})
    await send({"type": "http.response.body", "body": b"\\xff" * %d})
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_response_outlasts_a_save(loop: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.save(LARGE.replace("%d", str(SIZE)))
    with project.serve("--loop", loop) as server, socket.socket() as connection:
        wait_until_watching(server)
        [old] = living_workers(server)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", server.port))
        send_request(connection, "/")
        head = connection.recv(100)
        project.write("two")
        server.wait_until_left(old)
        # Longer than a worker gets that says nothing: with --reload the grace is a second.
        end = time.monotonic() + 1 + DRAIN_MARGIN + DELIVERING
        got = head.count(b"\xff")
        while got < SIZE:
            data = connection.recv(100_000)
            assert data, f"{got} of {SIZE} bytes came"
            got += data.count(b"\xff")
            ahead = end - time.monotonic()
            if ahead > 0:
                time.sleep(min(ahead, 0.05))
        assert got == SIZE
        send_request(connection, "/")
        assert read_response(connection).body == b"two"
        wait_until_replaced(server)


def test_a_stop_does_not_wait_for_what_outlasted_a_save(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.save(LARGE.replace("%d", str(SIZE)))
    with project.serve() as server, socket.socket() as connection:
        wait_until_watching(server)
        [old] = living_workers(server)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        connection.connect(("127.0.0.1", server.port))
        send_request(connection, "/")
        assert connection.recv(100)
        project.write("two")
        server.wait_until_left(old)
        assert server.stop() == 0
        assert "killed" not in server.log
