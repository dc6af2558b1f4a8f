"""The table of http_cases*.py, read by the RequestReader alone: no connection, no event loop, no application."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.http_cases import Row, rows
from support.wire import CODECS, split_bytes
from tricorn.errors import BadRequest
from tricorn.protocols.http1 import head_limits
from tricorn.protocols.http1.reader import RequestReader
from tricorn.protocols.limits import Limits
from tricorn.protocols.request import RequestHead

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"


def make(codec: str = "auto", limits: Limits | None = None) -> RequestReader:
    limits = limits or Limits()
    parse, lane = CODECS[codec]
    return RequestReader(head_limits.within(limits, lane()) if lane else lambda raw: None, parse, limits)


def read(pieces: Sequence[bytes], codec: str) -> tuple[list[str], int | None]:
    """The requests that came whole, as a Row has them, and the status with which the next one is refused."""
    reader = make(codec)
    requests: list[str] = []
    head: RequestHead | None = None
    body = b""
    for piece in pieces:
        data = piece
        try:
            while True:
                if head is None:
                    head = reader.take(data) if data else reader.next()
                    if head is None:
                        break
                    body = reader.begin_body(head.length) if head.length != 0 else b""
                elif data or reader.has_more:
                    body += reader.read(data)
                data = b""
                if reader.has_more:
                    continue
                if reader.body is not None:
                    break
                _, path, query = head.parts
                target = (path + (b"?" + query if query else b"")).decode("latin-1")
                line = f"{head.method} {target} {body.decode('latin-1')}"
                requests.append(line.rstrip())
                if not head.terms.keep_alive:
                    return requests, None
                head = None
                if not reader.buffer:
                    break
        except BadRequest as error:
            return requests, error.status
    return requests, None


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name.replace(" ", "-"))
def test_row(row: Row, codec: str) -> None:
    refused = row.statuses[-1] if row.statuses and row.statuses[-1] >= 400 and len(row.statuses) > len(row.saw) else None
    pieces = split_bytes(row.data) if len(row.data) <= 4096 else [row.data[at : at + 97] for at in range(0, len(row.data), 97)]
    for way in ([row.data] if row.data else [], pieces):
        assert read(way, codec) == (list(row.saw), refused), f"{row.name}: {row.data[:300]!r}, RFC {row.rfc}"


def test_what_comes_behind_a_request_waits_until_it_is_asked_for() -> None:
    reader = make()
    head = reader.take(POST + b"abc" + GET)
    assert head is not None
    assert reader.begin_body(head.length) == b"abc"
    reader.hold(GET[:5])
    first = reader.next()
    assert first is not None
    assert first.method == "GET"
    assert (reader.next(), reader.buffer) == (None, GET[:5])
    second = reader.take(GET[5:])
    assert second is not None
    assert reader.buffer == b""


def test_a_body_comes_piece_by_piece() -> None:
    reader = make()
    head = reader.take(POST + b"a")
    assert head is not None
    assert (reader.begin_body(head.length), reader.body is None) == (b"a", False)
    assert (reader.read(b"b"), reader.body is None) == (b"b", False)
    assert (reader.read(b"c" + GET), reader.body is None) == (b"c", True)
    assert reader.buffer == GET


def test_a_body_above_the_limit_is_refused_before_any_of_it_is_read() -> None:
    reader = make(limits=Limits(body=2))
    head = reader.take(POST)
    assert head is not None
    with pytest.raises(BadRequest) as caught:
        reader.begin_body(head.length)
    assert caught.value.status == 413


def test_an_empty_line_is_skipped_once_for_each_request() -> None:
    reader = make()
    for _ in range(2):
        assert reader.take(b"\r\n") is None
        assert reader.take(GET) is not None
    assert reader.take(b"\r\n") is None
    with pytest.raises(BadRequest):
        reader.take(b"\r\n" + GET)
