"""An application and its client notice no difference between HTTP/1.1 and HTTP/2: each row is played over both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.h2_wire import H2Wire
from support.play import body, sends, start
from support.table_app import app as table_app
from support.wire import App, Receive, Send, Wire, echo
from tricorn.protocols.limits import Limits

HINT = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
FILE = {"type": "http.response.pathsend", "path": str(Path(__file__).parent / "__init__.py")}


@dataclass(frozen=True)
class Row:
    name: str
    app: App
    method: str = "GET"
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    limits: Limits = field(default_factory=Limits)


def raises_when(where: str) -> App:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if where == "before":
            raise RuntimeError
        await send(start())
        if where == "between":
            raise RuntimeError
        await send(body(b"whole"))
        raise RuntimeError

    return app


async def returns_something(scope: dict[str, Any], receive: Receive, send: Send) -> Any:
    await sends(start(), body(b"a"))(scope, receive, send)
    return 1


async def ignores_the_body(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await sends(start(), body(b"no"))(scope, receive, send)


async def tells_the_end(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answers with the types of all that it receives after its body."""
    while (await receive())["more_body"]:
        pass
    await send(start())
    await send(body(b"a", True))
    await send(body(b"b"))
    assert (await receive())["type"] == "http.disconnect"


ROWS = [
    Row("plain", echo),
    Row("query and escapes", echo, target="/a%20b/%C3%A9?x=%20&y"),
    Row("headers", echo, headers=(("x-a", "1"), ("x-a", "2"), ("accept", "*/*"))),
    Row("body", echo, "POST", body=b"hello"),
    Row("empty body", echo, "POST", body=b""),
    Row("large body", echo, "PUT", body=bytes(60_000)),
    Row("HEAD", echo, "HEAD"),
    Row("HEAD of a stream", table_app, "HEAD", "/stream"),
    Row("OPTIONS *", echo, "OPTIONS", "*"),
    Row("other methods", echo, "PROPFIND"),
    *(Row(f"status {status}", table_app, target=f"/status/{status}") for status in (200, 204, 205, 304, 404, 500, 599)),
    Row("stream", table_app, target="/stream"),
    Row("length of its own", sends(start((b"content-length", b"2")), body(b"a", True), body(b"b"))),
    Row("length too short", sends(start((b"content-length", b"1")), body(b"ab"))),
    Row("length too long", sends(start((b"content-length", b"3")), body(b"ab"))),
    Row("length of nothing", sends(start((b"content-length", b"0")), body())),
    Row("header without a name", sends(start((b"", b"a")), body())),
    Row("header with a line feed", sends(start((b"a", b"b\nc")), body())),
    Row("status that is none", sends(start(status=42), body())),
    Row("interim status", sends(start(status=103), body())),
    Row("body that is text", sends(start(), body("text"))),
    Row("body that can change", sends(start(), body(bytearray(b"abc")))),
    Row("no response", sends()),
    Row("body without a start", sends(body(b"a"))),
    Row("start twice", sends(start(), start())),
    Row("more after the end", sends(start(), body(b"a"), body(b"b"))),
    Row("hint", sends(HINT, start(), body(b"a"))),
    Row("hint behind the head", sends(start(), body(b"a", True), HINT, body(b"b"))),
    Row("trailers", sends(start() | {"trailers": True}, body(b"a"), TRAILERS), headers=(("te", "trailers"),)),
    Row("trailers that never come", sends(start() | {"trailers": True}, body(b"a"))),
    *(Row(f"raises {where}", raises_when(where)) for where in ("before", "between", "behind")),
    Row("returns something", returns_something),
    Row("ignores the body", ignores_the_body, "POST", body=b"abc"),
    Row("learns of the end", tells_the_end, "POST", body=b"abc"),
    Row("body too large", echo, "POST", body=bytes(11), limits=Limits(body=10)),
    Row("body as large as may be", echo, "POST", body=bytes(10), limits=Limits(body=10)),
    Row("head too large", echo, headers=(("x-a", "y" * 500),), limits=Limits(head=400, field_size=400, request_line=400)),
    Row("header too large", echo, headers=(("x-a", "y" * 500),), limits=Limits(field_size=400)),
    Row("too many headers", echo, headers=tuple((f"x-{at}", "") for at in range(20)), limits=Limits(header_count=10)),
    Row("target too long", echo, target="/" + "a" * 500, limits=Limits(request_line=400)),
    Row("fragment", echo, target="/#a"),
    Row("expectation that nobody knows", echo, "POST", headers=(("expect", "more"),), body=b"a"),
    Row("two content types", echo, headers=(("content-type", "a/b"), ("content-type", "c/d"))),
    Row("the same content type twice", echo, headers=(("content-type", "a/b"), ("content-type", "a/b"))),
]

Result = tuple[Any, ...]


def pick(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Less those that say how a body is framed, or belong to the connection."""
    framing = (b"date", b"connection", b"transfer-encoding", b"content-length")
    return sorted((name, value) for name, value in headers if name not in framing)


def seen_by(wire: Wire) -> list[Any]:
    kept = (
        "type",
        "asgi",
        "method",
        "path",
        "raw_path",
        "query_string",
        "root_path",
        "scheme",
        "client",
        "server",
        "extensions",
    )
    return [({name: seen.scope[name] for name in kept}, seen.scope["headers"], seen.body, seen.whole) for seen in wire.seen]


async def over_http1(row: Row) -> Result:
    logged: list[Any] = []
    wire = Wire(row.app, limits=row.limits, access=lambda *line: logged.append(line[:3] + line[4:5]))
    lines = [f"{row.method} {row.target} HTTP/1.1", "host: a", *(f"{name}: {value}" for name, value in row.headers)]
    if row.body is not None:
        lines.append(f"content-length: {len(row.body)}")
    await wire.feed("\r\n".join([*lines, "", ""]).encode() + (row.body or b""))
    await wire.settle()
    answers = wire.responses()
    last = answers[-1]
    interim = [answer.status for answer in answers[:-1]]
    result = last.status, pick(last.headers), last.body, interim, seen_by(wire), logged
    wire.transport.lose()
    return result


async def over_http2(row: Row) -> Result:
    logged: list[Any] = []
    wire = H2Wire(row.app, limits=row.limits, access=lambda *line: logged.append(line[:3] + line[4:5]))
    headers = row.headers if row.body is None else (*row.headers, ("content-length", str(len(row.body))))
    stream = wire.ask(*headers, method=row.method, path=row.target, body=row.body)
    await wire.exchange(30)
    answer = wire.answers[stream]
    assert answer.ended
    interim = [int(fields[0][1]) for fields in answer.interim]
    result = answer.status, pick(answer.headers + answer.trailers), answer.body, interim, seen_by(wire), logged
    wire.transport.lose()
    return result


PLAYS: list[Callable[[Row], Any]] = [over_http1, over_http2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_row(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    results, logs = [], []
    for play in PLAYS:
        results.append(asyncio.run(play(row)))
        logs.append([record.getMessage() for record in caplog.records])
        caplog.clear()
    assert results[0] == results[1]
    assert logs[0] == logs[1]
