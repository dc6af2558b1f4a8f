"""The table of http_cases*.py over TLS, on both event loops. A client can't close TLS by half: it leaves with its answers."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from pathlib import Path

import pytest
from support.certificates import Authority
from support.harness import PATIENCE
from support.http_cases import Row, rows
from support.table_app import LOOPS, app
from support.wire import CODECS, Seen, read_responses
from tricorn.config.options import Config
from tricorn.protocols.context import Service
from tricorn.protocols.facts import Opening
from tricorn.protocols.http1.connection import HttpConnection
from tricorn.protocols.http1.shared import Http1
from tricorn.worker.tls import load


async def serve_rows(files: tuple[str, str], trusting: ssl.SSLContext) -> list[str]:
    """Every row from a client of its own; returns what went wrong."""
    loop = asyncio.get_running_loop()
    context = load(Config(app="a:b", ssl_certfile=files[0], ssl_keyfile=files[1]))
    requests: list[Seen] = []

    async def noted(scope, receive, send):  # type: ignore[no-untyped-def]
        requests.append(Seen(scope))
        await app(scope, receive, send)

    service = Service(noted, loop)
    server = await loop.create_server(
        lambda: Opening(partial(HttpConnection, Http1(service, *CODECS["auto"]))), "127.0.0.1", 0, ssl=context
    )
    wrong = []
    for row in rows():
        requests.clear()
        # Looked up by number, as the certificate is for it, too: a name would cost a look-up for each row.
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=trusting)
        writer.write(row.data)
        wrong += await judge(row, reader, requests)
        writer.transport.abort()
    server.close()
    return wrong


async def judge(row: Row, reader: asyncio.StreamReader, requests: list[Seen]) -> list[str]:
    data, ended = b"", not row.statuses
    statuses: tuple[int, ...] = ()
    while not ended and statuses != row.statuses:
        try:
            piece = await asyncio.wait_for(reader.read(65536), PATIENCE)
        except TimeoutError:
            return [f"{row.name}: {statuses} instead of {row.statuses}, and no more"]
        data, ended = data + piece, not piece
        methods = [request.scope["method"] for request in requests]
        try:
            found = read_responses(data, methods, closed=ended)
        except (AssertionError, ValueError):
            # Not whole yet.
            if ended:
                raise
            continue
        statuses = tuple(answer.status for answer in found) if all(answer.whole for answer in found) or ended else statuses
    return [] if statuses == row.statuses else [f"{row.name}: {statuses} instead of {row.statuses}"]


@pytest.mark.parametrize("loop", LOOPS)
def test_rows_over_tls(loop: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        wrong = runner.run(serve_rows(authority.issue(), authority.client()))
    assert not wrong, "\n".join(wrong)
