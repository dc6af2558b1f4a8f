"""The table of http_cases*.py over real sockets, TCP and UNIX, on both event loops: where no fake transport can be wrong."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.harness import PATIENCE
from support.http_cases import Row, rows
from support.table_app import LOOPS, app
from support.wire import CODECS, Receive, Seen, Send, read_responses
from tricorn.protocols.context import Service
from tricorn.protocols.facts import Opening
from tricorn.protocols.http1.connection import HttpConnection
from tricorn.protocols.http1.shared import Http1


async def serve_rows(kind: str, path: Path) -> list[str]:
    """Every row from a client of its own that half-closes when it has sent all; returns what went wrong."""
    loop = asyncio.get_running_loop()

    def connect() -> Opening:
        requests: list[Seen] = []

        async def noted(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            requests.append(Seen(scope))
            await app(scope, receive, send)

        # One service for each connection, so that each knows its own requests.
        waiting.append(requests)
        service = Service(noted, loop)  # type: ignore[arg-type]
        return Opening(partial(HttpConnection, Http1(service, *CODECS["auto"])))

    waiting: list[list[Seen]] = []
    if kind == "tcp":
        server = await loop.create_server(connect, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
    else:
        server = await loop.create_unix_server(connect, str(path))
    wrong = []
    for row in rows():
        if kind == "tcp":
            reader, writer = await asyncio.open_connection(*address)
        else:
            reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(row.data)
        writer.write_eof()
        data = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        wrong += judge(row, data, waiting.pop() if waiting else [])
    server.close()
    return wrong


def judge(row: Row, data: bytes, requests: list[Seen]) -> list[str]:
    methods = [request.scope["method"] for request in requests]
    statuses = tuple(answer.status for answer in read_responses(data, methods, closed=True))
    return [] if statuses == row.statuses else [f"{row.name}: {statuses} instead of {row.statuses}"]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("loop", LOOPS)
def test_rows_over_a_socket(loop: str, kind: str, tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        wrong = runner.run(serve_rows(kind, tmp_path / "socket"))
    assert not wrong, "\n".join(wrong)
