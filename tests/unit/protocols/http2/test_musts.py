"""What RFC 9113 demands, a row each: the frames that a client sends, and what it gets for them.

Each row is tried whole and byte by byte. Behind every fault of a stream another request is answered as if nothing had been.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

import pytest
from support.h2_raw import BEGIN, GET, block, data, outcome, read_frames, request, statuses
from support.h2_wire import H2Wire
from support.wire import split_bytes
from tricorn.protocols.http2 import frames as f
from tricorn.protocols.http2.frames import frame

CONNECTION, STREAM, ANSWERED, NOTHING = "connection", "stream", "answered", "nothing"


@dataclass(frozen=True)
class Row:
    name: str
    rfc: str
    """The section, of RFC 9113 if not said otherwise."""
    sent: bytes
    """Behind preface and SETTINGS."""
    scope: str
    code: int = 0
    """Error code, or the status of the answer to stream 1."""


def number(*values: int) -> bytes:
    return b"".join(struct.pack(">I", value) for value in values)


def wrong(name: str, rfc: str, sent: bytes, code: int = f.PROTOCOL_ERROR) -> Row:
    return Row(name, rfc, sent, CONNECTION, code)


def reset(name: str, rfc: str, sent: bytes, code: int = f.PROTOCOL_ERROR) -> Row:
    """Stream 1 is reset."""
    return Row(name, rfc, sent, STREAM, code)


def answered(name: str, rfc: str, sent: bytes, status: int = 200) -> Row:
    return Row(name, rfc, sent, ANSWERED, status)


def ignored(name: str, rfc: str, sent: bytes) -> Row:
    return Row(name, rfc, sent, NOTHING)


def pseudo(**changes: str | None) -> tuple[tuple[str, str], ...]:
    """GET's pseudo-fields with ``changes``."""
    return tuple((name, value) for name, value in (dict(GET) | changes).items() if value is not None)


def get(*fields: tuple[str, str], **changes: str | None) -> bytes:
    return request(1, *fields, pseudo=pseudo(**changes))


def post(*fields: tuple[str, str]) -> bytes:
    return request(1, *fields, end=False, pseudo=pseudo(method="POST"))


OPEN = post()
CLOSED = request(1)
WHOLE = f.END_HEADERS | f.END_STREAM
SETTINGS_MISTAKES = [
    wrong("push is neither on nor off", "6.5.2", f.settings({f.ENABLE_PUSH: 2})),
    wrong("initial window above 2^31-1", "6.5.2", f.settings({f.INITIAL_WINDOW_SIZE: 1 << 31}), f.FLOW_CONTROL_ERROR),
    wrong("largest frame below 2^14", "6.5.2", f.settings({f.MAX_FRAME_SIZE: 16383})),
    wrong("largest frame above 2^24-1", "6.5.2", f.settings({f.MAX_FRAME_SIZE: 1 << 24})),
    wrong("connect protocol is neither on nor off", "8441 3", f.settings({f.ENABLE_CONNECT_PROTOCOL: 2})),
    wrong("priorities are neither on nor off", "9218 2.1", f.settings({f.NO_RFC7540_PRIORITIES: 2})),
    wrong("settings on a stream", "6.5", frame(f.SETTINGS, 0, 1, b"")),
    wrong("settings of 5 bytes", "6.5", frame(f.SETTINGS, 0, 0, b"12345"), f.FRAME_SIZE_ERROR),
    wrong("acknowledgement with content", "6.5", frame(f.SETTINGS, f.ACK, 0, bytes(6)), f.FRAME_SIZE_ERROR),
    ignored("unknown setting", "6.5.2", f.settings({0x7777: 5})),
    ignored("acknowledgement", "6.5.3", f.SETTINGS_ACK),
    wrong(
        "windows of open streams grow above 2^31-1",
        "6.9.2",
        OPEN + f.window_update(1, 0x7FFF0000) + f.settings({f.INITIAL_WINDOW_SIZE: 0x7FFFFFFF}),
        f.FLOW_CONTROL_ERROR,
    ),
]
FRAME_MISTAKES = [
    wrong("frame larger than allowed", "4.2", frame(f.DATA, 0, 1, bytes(16385)), f.FRAME_SIZE_ERROR),
    wrong("DATA on stream 0", "6.1", data(0, b"a")),
    wrong("DATA on an idle stream", "5.1", data(1, b"a")),
    wrong("padding as long as the frame", "6.1", OPEN + frame(f.DATA, f.PADDED, 1, b"\x05abcd")),
    wrong("padding of nothing", "6.1", OPEN + frame(f.DATA, f.PADDED, 1, b"")),
    wrong("padding as long as HEADERS", "6.2", frame(f.HEADERS, f.PADDED | WHOLE, 1, b"\x05\x82")),
    wrong("HEADERS on stream 0", "6.2", frame(f.HEADERS, WHOLE, 0, block())),
    wrong("HEADERS on an even stream", "5.1.1", request(2)),
    wrong("HEADERS on a lower stream", "5.1.1", request(3) + request(1), f.STREAM_CLOSED),
    wrong("HEADERS too short for a priority", "6.2", frame(f.HEADERS, f.WITH_PRIORITY | WHOLE, 1, b"abcd"), f.FRAME_SIZE_ERROR),
    wrong("PRIORITY on stream 0", "6.3", frame(f.PRIORITY, 0, 0, bytes(5))),
    reset("PRIORITY of 4 bytes", "6.3", OPEN + frame(f.PRIORITY, 0, 1, bytes(4)), f.FRAME_SIZE_ERROR),
    wrong("PRIORITY of 4 bytes of an idle stream", "6.4", frame(f.PRIORITY, 0, 1, bytes(4)), f.FRAME_SIZE_ERROR),
    *(
        wrong(f"{name} on a stream of the server", "5.1", request(3) + sent)
        for name, sent in (
            ("DATA", data(2, b"a")),
            ("RST_STREAM", f.reset(2, f.CANCEL)),
            ("WINDOW_UPDATE", f.window_update(2, 1)),
        )
    ),
    ignored("PRIORITY of an idle stream", "5.3.2", frame(f.PRIORITY, 0, 1, bytes(5))),
    wrong("RST_STREAM on stream 0", "6.4", f.reset(0, 0)),
    wrong("RST_STREAM on an idle stream", "6.4", f.reset(1, 0)),
    wrong("RST_STREAM of 5 bytes", "6.4", OPEN + frame(f.RST_STREAM, 0, 1, bytes(5)), f.FRAME_SIZE_ERROR),
    ignored("RST_STREAM of an open stream", "6.4", OPEN + f.reset(1, f.CANCEL)),
    wrong("PUSH_PROMISE", "8.4", OPEN + frame(f.PUSH_PROMISE, f.END_HEADERS, 1, number(2) + block())),
    wrong("PING on a stream", "6.7", frame(f.PING, 0, 1, bytes(8))),
    wrong("PING of 6 bytes", "6.7", frame(f.PING, 0, 0, bytes(6)), f.FRAME_SIZE_ERROR),
    ignored("PING's answer", "6.7", frame(f.PING, f.ACK, 0, bytes(8))),
    wrong("GOAWAY on a stream", "6.8", frame(f.GOAWAY, 0, 1, bytes(8))),
    wrong("GOAWAY of 7 bytes", "6.8", frame(f.GOAWAY, 0, 0, bytes(7)), f.FRAME_SIZE_ERROR),
    wrong("WINDOW_UPDATE of 3 bytes", "6.9", frame(f.WINDOW_UPDATE, 0, 0, bytes(3)), f.FRAME_SIZE_ERROR),
    wrong("WINDOW_UPDATE of 0", "6.9", f.window_update(0, 0)),
    reset("WINDOW_UPDATE of 0 on a stream", "6.9", OPEN + f.window_update(1, 0)),
    wrong("WINDOW_UPDATE on an idle stream", "5.1", f.window_update(1, 1)),
    wrong("the connection's window above 2^31-1", "6.9.1", f.window_update(0, 0x7FFFFFFF), f.FLOW_CONTROL_ERROR),
    reset("a stream's window above 2^31-1", "6.9.1", OPEN + f.window_update(1, 0x7FFFFFFF), f.FLOW_CONTROL_ERROR),
    ignored("a frame of an unknown type", "5.5", frame(0xEE, 0xFF, 3, b"abc")),
    wrong("PRIORITY_UPDATE on a stream", "9218 7.1", frame(f.PRIORITY_UPDATE, 0, 1, number(1) + b"u=1")),
    wrong("PRIORITY_UPDATE of 3 bytes", "9218 7.1", frame(f.PRIORITY_UPDATE, 0, 0, bytes(3)), f.FRAME_SIZE_ERROR),
    wrong("PRIORITY_UPDATE of stream 0", "9218 7.1", frame(f.PRIORITY_UPDATE, 0, 0, number(0))),
    ignored("PRIORITY_UPDATE of an idle stream", "9218 7.1", frame(f.PRIORITY_UPDATE, 0, 0, number(9) + b"u=1")),
]
BLOCK_MISTAKES = [
    wrong("CONTINUATION without HEADERS", "6.10", frame(f.CONTINUATION, f.END_HEADERS, 1, block())),
    wrong("another frame amid a header block", "6.10", frame(f.HEADERS, 1, 1, block()) + frame(f.PING, 0, 0, bytes(8))),
    wrong(
        "CONTINUATION of another stream",
        "6.10",
        frame(f.HEADERS, 1, 1, block()) + frame(f.CONTINUATION, f.END_HEADERS, 3, b""),
    ),
    wrong("an unknown frame amid a header block", "5.5", frame(f.HEADERS, 1, 1, block()) + frame(0xEE, 0, 1, b"")),
    wrong("a malformed header block", "4.3", frame(f.HEADERS, WHOLE, 1, b"\xff"), f.COMPRESSION_ERROR),
    wrong("a malformed block of trailers", "4.3", OPEN + frame(f.HEADERS, WHOLE, 1, b"\xff"), f.COMPRESSION_ERROR),
    answered(
        "a header block in three frames",
        "6.10",
        frame(f.HEADERS, f.END_STREAM, 1, block()[:3])
        + frame(f.CONTINUATION, 0, 1, block()[3:5])
        + frame(f.CONTINUATION, f.END_HEADERS, 1, block()[5:]),
    ),
    answered("padding and priority", "6.2", frame(f.HEADERS, 0x28 | WHOLE, 1, b"\x03" + bytes(5) + block() + bytes(3))),
]
STATE_MISTAKES = [
    reset("DATA behind the end", "5.1", request(1, end=True, pseudo=pseudo(path="/wait")) + data(1, b"a"), f.STREAM_CLOSED),
    reset("trailers behind the end", "5.1", request(1, pseudo=pseudo(path="/wait")) + request(1), f.STREAM_CLOSED),
    reset("DATA on a closed stream", "5.1", CLOSED + data(1, b"a"), f.STREAM_CLOSED),
    reset("trailers that don't end the stream", "8.1", OPEN + frame(f.HEADERS, f.END_HEADERS, 1, block(("a", "b"), pseudo=()))),
    reset("pseudo-field in trailers", "8.1", OPEN + frame(f.HEADERS, WHOLE, 1, block())),
    answered("trailers", "8.1", OPEN + data(1, b"a") + frame(f.HEADERS, WHOLE, 1, block(("a", "b"), pseudo=()))),
    reset("too much DATA for the window", "6.9.1", post() + data(1, bytes(16384)) * 5, f.FLOW_CONTROL_ERROR),
]
FIELD_MISTAKES = [
    reset("name in upper case", "8.2.1", get(("X-Upper", "1"))),
    reset("name with a space", "8.2.1", get(("a b", "1"))),
    reset("name with a control character", "8.2.1", get(("a\x01", "1"))),
    reset("name of bytes above 127", "8.2.1", get(("a\xe9", "1"))),
    reset("empty name", "8.2.1", get(("", "1"))),
    reset("name with a colon", "8.2.1", get(("a:b", "1"))),
    reset("value with NUL", "8.2.1", get(("a", "b\0"))),
    reset("value with CR", "8.2.1", get(("a", "b\rc"))),
    reset("value with LF", "8.2.1", get(("a", "b\nc: d"))),
    reset("value that begins with a space", "8.2.1", get(("a", " b"))),
    reset("value that ends with a tab", "8.2.1", get(("a", "b\t"))),
    answered("value of bytes above 127", "8.2.1", get(("a", "b\xe9"))),
    answered("empty value", "8.2.1", get(("a", ""))),
    *(reset(f"field {name}", "8.2.2", get((name, "close"))) for name in ("connection", "keep-alive", "proxy-connection")),
    reset("field transfer-encoding", "8.2.2", get(("transfer-encoding", "chunked"))),
    reset("field upgrade", "8.2.2", get(("upgrade", "websocket"))),
    reset("te: gzip", "8.2.2", get(("te", "gzip"))),
    answered("te: trailers", "8.2.2", get(("te", "trailers"))),
    reset("unknown pseudo-field", "8.3", get(color="red")),
    reset("pseudo-field of responses", "8.3", get(status="200")),
    reset("pseudo-field behind a field", "8.3", frame(f.HEADERS, WHOLE, 1, block(("a", "b"), (":path", "/"), pseudo=GET[:2]))),
    *(reset(f":{name} is missing", "8.3.1", get(**{name: None})) for name in ("method", "scheme", "path")),
    reset(":path twice", "8.3.1", frame(f.HEADERS, WHOLE, 1, block(pseudo=(*GET, ("path", "/"))))),
    reset("empty :path", "8.3.1", get(path="")),
    reset(":path without a slash", "8.3.1", get(path="a")),
    reset(":path with a space", "8.3.1", get(path="/a b")),
    reset(":path * with GET", "8.3.1", get(path="*")),
    reset(":path of bytes above 127", "8.3.1", get(path="/\xe9")),
    answered(":path * with OPTIONS", "8.3.1", get(path="*", method="OPTIONS")),
    answered("fragment in :path", "9110 7.1", get(path="/#a"), 400),
    reset(":method is no token", "8.3.1", get(method="G T")),
    reset(":scheme is malformed", "8.3.1", get(scheme="1 2")),
    answered("no :authority but Host", "8.3.1", get(("host", "a"), authority=None)),
    answered("neither :authority nor Host", "9110 7.2", get(authority=None), 400),
    answered("malformed :authority", "9110 7.2", get(authority="a b"), 400),
    answered("user in :authority", "8.3.1", get(authority="me@a"), 400),
    reset("Host and :authority differ", "8.3.1", get(("host", "b"))),
    answered("Host and :authority agree", "8.3.1", get(("host", "A"))),
    reset("CONNECT with :path", "8.5", get(method="CONNECT", scheme=None)),
    answered("CONNECT", "8.5", get(method="CONNECT", scheme=None, path=None, authority="a:80"), 501),
    reset(":protocol without CONNECT", "8441 4", get(protocol="websocket")),
    answered("unknown :protocol", "8441 4", get(method="CONNECT", protocol="telnet"), 501),
    reset("Content-Length without a body", "8.1.1", get(("content-length", "1"))),
    answered("Content-Length 0 without a body", "8.1.1", get(("content-length", "0"))),
    reset("Content-Length twice", "8.1.1", get(("content-length", "0"), ("content-length", "0"))),
    reset("Content-Length is no number", "8.1.1", post(("content-length", "+1")) + data(1, b"a", True)),
    reset("more DATA than Content-Length", "8.1.1", post(("content-length", "1")) + data(1, b"ab", True)),
    reset("less DATA than Content-Length", "8.1.1", post(("content-length", "3")) + data(1, b"ab", True)),
    answered("as much DATA as Content-Length", "8.1.1", post(("content-length", "2")) + data(1, b"ab", True)),
    answered("different Content-Types", "9110 8.3", get(("content-type", "a/b"), ("content-type", "a/c")), 400),
    answered("an expectation that nobody knows", "9110 10.1.1", get(("expect", "more")), 417),
    answered("head too large", "10.5.1", get(*((f"x{at}", "y" * 9000) for at in range(1))) * 0 + get(("x", "y" * 16384)), 431),
    answered("target too long", "9110 15.5.15", get(path="/" + "a" * 16380), 414),
    answered("too many fields", "10.5.1", get(*((f"x{at}", "") for at in range(201))), 431),
]
ROWS = [*SETTINGS_MISTAKES, *FRAME_MISTAKES, *BLOCK_MISTAKES, *STATE_MISTAKES, *FIELD_MISTAKES]


async def app(scope, receive, send):  # type: ignore[no-untyped-def]
    """Takes the whole body; ``/wait`` is never answered."""
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    while scope["path"] == "/wait" and message["type"] != "http.disconnect":
        message = await receive()
    if message["type"] == "http.request":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def play(row: Row, byte_by_byte: bool) -> None:
    wire = H2Wire(app, begin=False)
    await wire.feed(BEGIN)
    if byte_by_byte and len(row.sent) < 3000:
        await wire.feed(*split_bytes(row.sent))
    else:
        await wire.feed(row.sent)
    await wire.settle()
    found = outcome(wire)
    if row.scope == CONNECTION:
        assert [(scope, code) for scope, _, code in found] == [(CONNECTION, row.code)], row.name
        assert wire.transport.closed
        return
    await wire.feed(request(101))
    await wire.settle()
    assert outcome(wire) == found, f"{row.name}: the next request"
    assert statuses(wire)[101] == "200"
    if row.scope == STREAM:
        assert found == [(STREAM, 1, row.code)], row.name
    elif row.scope == ANSWERED:
        assert statuses(wire)[1] == str(row.code), row.name
        assert found in ([], [(STREAM, 1, f.NO_ERROR)]), row.name
    else:
        assert found == [], row.name
    assert not wire.transport.wrong


@pytest.mark.parametrize("byte_by_byte", [False, True], ids=["whole", "bytes"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_row(row: Row, byte_by_byte: bool) -> None:
    asyncio.run(play(row, byte_by_byte))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + bytes(40),
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + bytes(9),
        BEGIN[:24] + frame(f.PING, 0, 0, bytes(8)),
        BEGIN[:24] + f.SETTINGS_ACK,
    ],
    ids=["HTTP/1.1", "preface", "PING first", "acknowledgement first"],
)
@pytest.mark.parametrize("pieces", [False, True])
def test_connection_begins_wrong(sent: bytes, pieces: bool) -> None:
    """Section 3.4."""

    async def begin() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(*(split_bytes(sent) if pieces else [sent]))
        await wire.settle()
        assert outcome(wire) == [(CONNECTION, 0, f.PROTOCOL_ERROR)]
        assert wire.transport.closed

    asyncio.run(begin())


def test_what_the_server_says_first() -> None:
    """Section 3.4: SETTINGS; then those of the client are acknowledged, and a PING is answered (6.5.3, 6.7)."""

    async def begin() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN + frame(f.PING, 0, 0, b"12345678"))
        await wire.settle()
        first, *others = read_frames(wire.output)
        assert (first.kind, first.flags) == (f.SETTINGS, 0)
        assert [(other.kind, other.flags, other.payload[:8]) for other in others[1:]] == [
            (f.SETTINGS, f.ACK, b""),
            (f.PING, f.ACK, b"12345678"),
        ]

    asyncio.run(begin())
