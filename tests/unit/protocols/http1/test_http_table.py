"""The table of http_cases*.py: every row whole, byte by byte, and with a smuggled request behind, by every codec."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support.http_cases import SMUGGLED, Row, rows
from support.table_app import app
from support.wire import CODECS, Outcome, Receive, Send, converse, split_bytes

ROWS = rows()
LONG = 4096
"""Above this many bytes a row is cut into pieces of 97 bytes instead of one: the points of interest are far apart."""


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


def ways(row: Row) -> Iterator[tuple[str, list[bytes], bool]]:
    """How, in which pieces, and whether a smuggled request stands behind."""
    for behind in (False, True):
        data = row.data + SMUGGLED * behind
        size = 1 if len(data) <= LONG else 97
        yield f"whole{', request behind' * behind}", [data] if data else [], behind
        pieces = split_bytes(data) if size == 1 else [data[at : at + size] for at in range(0, len(data), size)]
        yield f"in pieces of {size}{', request behind' * behind}", pieces, behind


def expected(row: Row, behind: bool) -> tuple[list[int], bool, list[str]]:
    if not behind or row.closed:
        return list(row.statuses), row.closed, list(row.saw)
    return [*row.statuses, 200], False, [*row.saw, "GET /smuggled"]


def check(row: Row, how: str, outcome: Outcome, behind: bool) -> None:
    statuses, requests = [status for status in outcome.statuses if status != 100 or row.statuses == (100,)], outcome.requests
    if behind and row.open_ended:
        # It is swallowed by what it was to follow, or spoils it; it is never a request of its own.
        assert "GET /smuggled" not in requests or not row.data.strip(), f"{how}: {requests}"
        return
    assert (statuses, outcome.closed, requests) == expected(row, behind), (
        f"{row.name}, {how}: {row.data[:300]!r}, RFC {row.rfc}"
    )


def test_table_is_large_and_names_each_row_once() -> None:
    assert len(ROWS) >= 250
    assert all(row.rfc for row in ROWS)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_row(row: Row, codec: str, loop: asyncio.AbstractEventLoop) -> None:
    for how, pieces, behind in ways(row):
        check(row, how, loop.run_until_complete(converse(pieces, codec, app)), behind)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("lines", "version", "asked"),
    [
        (["Upgrade: WebSocket"], "1.1", True),
        (["Upgrade: h2c, websocket"], "1.1", True),
        (["Upgrade: WEBSOCKET ,h2c"], "1.1", True),
        (["Upgrade: h2c", "Upgrade: websocket"], "1.1", True),
        (["Upgrade: websocket", "Upgrade: h2c"], "1.1", True),
        (["Upgrade: websockets"], "1.1", False),
        (["Upgrade: x/websocket"], "1.1", False),
        (["Upgrade: h2c"], "1.1", False),
        (["Upgrade:"], "1.1", False),
        (["Upgrade: websocket"], "1.0", False),
        (["Upgrade: websocket", "Content-Length: 2"], "1.1", False),
    ],
)
def test_whether_websocket_is_asked_for(codec: str, lines: list[str], version: str, asked: bool) -> None:
    fields = ["Host: a", "Connection: keep-alive, Upgrade", *lines]
    head = "\r\n".join([f"GET / HTTP/{version}", *fields, "", ""]).encode()
    assert CODECS[codec][0](head).terms.websocket is asked


@pytest.mark.parametrize("codec", CODECS)
def test_equal_content_types_reach_the_application_as_one(codec: str) -> None:
    head = b"GET / HTTP/1.1\r\nContent-Type: a/b\r\nHost: a\r\ncontent-type:a/b\r\nX: c\r\n\r\n"
    assert [*CODECS[codec][0](head).headers] == [(b"content-type", b"a/b"), (b"host", b"a"), (b"x", b"c")]


@pytest.mark.parametrize("codec", CODECS)
def test_a_malformed_rest_of_a_body_that_nobody_wants_ends_the_connection(codec: str, loop: asyncio.AbstractEventLoop) -> None:
    async def hasty(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    outcome = loop.run_until_complete(converse([head, b"1\r\na\r\n", b"x\r\n"], codec, hasty))
    assert (outcome.statuses, outcome.closed) == ([200], True)
