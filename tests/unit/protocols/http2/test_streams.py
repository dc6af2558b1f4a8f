"""An exchange over HTTP/2: what applications get and send, as over HTTP/1.1. The client is the package ``h2``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.h2_raw import BEGIN, data, outcome, request, statuses
from support.h2_wire import H2Wire, get
from support.play import body, sends, start
from support.wire import Receive, Send, echo
from tricorn.protocols.http2 import frames as f
from tricorn.protocols.limits import Limits
from tricorn.protocols.proxy.headers import Proxies, Trusted


def run(play: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(play())  # type: ignore[arg-type]


def test_scope() -> None:
    async def play() -> None:
        _, wire = await get(echo, ("x-a", "1"), ("cookie", "a=1"), ("cookie", "b=2"), path="/a%20b?c=d", authority="host:81")
        scope = wire.seen[0].scope
        assert scope["http_version"] == "2"
        assert (scope["method"], scope["path"], scope["raw_path"]) == ("GET", "/a b", b"/a%20b")
        assert scope["query_string"] == b"c=d"
        assert scope["headers"] == [(b"host", b"host:81"), (b"x-a", b"1"), (b"cookie", b"a=1; b=2")]
        assert scope["client"] == ("192.0.2.7", 4711)

    run(play)


def test_root_path_and_pathsend_in_scope() -> None:
    async def play() -> None:
        wire = H2Wire(root_path="/root", pathsend=True)
        wire.ask(path="/a")
        await wire.exchange()
        scope = wire.seen[0].scope
        assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/root", "/root/a", b"/root/a")
        assert set(scope["extensions"]) >= {"http.response.pathsend", "http.response.trailers"}

    run(play)


def test_body_both_ways() -> None:
    async def play() -> None:
        wire = H2Wire()
        sent = bytes(range(256)) * 200
        stream = wire.ask(method="POST", body=sent)
        await wire.exchange()
        answer = wire.answers[stream]
        assert (answer.status, answer.ended, answer["content-length"]) == (200, True, str(len(sent)))
        assert answer.body == sent

    run(play)


def test_large_bodies_pass_small_windows() -> None:
    async def play() -> None:
        wire = H2Wire()
        stream = wire.ask(method="POST", end=False)
        await wire.exchange()
        left = 1_000_000
        while left:
            room = min(wire.client.local_flow_control_window(stream), wire.client.max_outbound_frame_size, left)
            assert room > 0, "the server gives no credit back"
            left -= room
            wire.client.send_data(stream, bytes(room), end_stream=left == 0)
            await wire.exchange(2)
        await wire.exchange(100)
        assert len(wire.answers[stream].body) == 1_000_000
        assert wire.answers[stream].ended

    run(play)


@pytest.mark.parametrize(
    ("messages", "method", "expected"),
    [
        ([start(), body(b"abc")], "GET", (200, b"abc", "3")),
        ([start(), body(b"abc")], "HEAD", (200, b"", "3")),
        ([start(), body(b"a", True), body(b"b", True), body()], "GET", (200, b"ab", None)),
        ([start(), body(b"a", True), body(b"b")], "HEAD", (200, b"", None)),
        ([start(), body()], "GET", (200, b"", "0")),
        ([start(status=204), body(b"lost")], "GET", (204, b"", None)),
        ([start(status=304), body()], "GET", (304, b"", None)),
        ([start((b"content-length", b"2")), body(b"a", True), body(b"b")], "GET", (200, b"ab", "2")),
        ([start((b"Connection", b"close"), (b"Transfer-Encoding", b"chunked")), body(b"a")], "GET", (200, b"a", "1")),
        ([start((b"content-length", b"2")), body(b"abc")], "GET", (500, b"Internal Server Error", "21")),
        ([start((b"bad name", b"")), body(b"abc")], "GET", (500, b"Internal Server Error", "21")),
        ([], "GET", (500, b"Internal Server Error", "21")),
    ],
)
def test_response(messages: list[dict[str, Any]], method: str, expected: tuple[int, bytes, str | None]) -> None:
    async def play() -> None:
        answer, _ = await get(sends(*messages), method=method)
        assert (answer.status, answer.body, answer["content-length"]) == expected
        assert answer.ended
        assert answer.reset is None
        assert answer["server"] == "tricorn"
        assert answer["date"]
        assert answer["connection"] is answer["transfer-encoding"] is None

    run(play)


def test_date_and_server_of_the_application() -> None:
    async def play() -> None:
        for _ in range(2):
            answer, _ = await get(sends(start((b"Date", b"today"), (b"Server", b"mine"), (b"Set-Cookie", b"a=b")), body(b"a")))
            assert (answer["date"], answer["server"], answer["set-cookie"]) == ("today", "mine", "a=b")

    run(play)


def test_response_that_breaks_off_is_reset() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"a", True))
        raise RuntimeError("in the middle")

    async def play() -> None:
        answer, wire = await get(app)
        assert (answer.status, answer.body, answer.ended, answer.reset) == (200, b"a", False, f.INTERNAL_ERROR)
        # The connection lives.
        wire.ask()
        await wire.exchange()
        assert wire.answers[3].status == 200

    run(play)


def test_trailers_and_hints() -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}

    async def play() -> None:
        answer, _ = await get(sends(hint, start() | {"trailers": True}, body(b"abc"), trailers))
        assert answer.interim == [[(b":status", b"103"), (b"link", b"</a>; rel=preload")]]
        assert (answer.body, answer.trailers, answer.ended) == (b"abc", [(b"x-sum", b"1")], True)

    run(play)


def test_large_body_before_trailers() -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}

    async def play() -> None:
        wire = H2Wire(sends(start() | {"trailers": True}, body(bytes(300_000)), trailers))
        wire.ask()
        await wire.exchange(50)
        answer = wire.answers[1]
        assert (len(answer.body), answer.trailers, answer.ended) == (300_000, [(b"x-sum", b"1")], True)

    run(play)


def test_expect_continue() -> None:
    """The client is asked for the body when the application asks for it, and not otherwise."""

    async def play() -> None:
        wire = H2Wire()
        stream = wire.ask(("expect", "100-continue"), ("content-length", "3"), method="POST", end=False)
        await wire.exchange()
        assert wire.answers[stream].interim == [[(b":status", b"100")]]
        wire.client.send_data(stream, b"abc", end_stream=True)
        await wire.exchange()
        assert wire.answers[stream].body == b"abc"
        answer, _ = await get(sends(start(), body(b"no")), ("expect", "100-continue"), method="POST", end=False)
        assert (answer.interim, answer.body, answer.ended) == ([], b"no", True)

    run(play)


def test_answer_before_the_body_ends() -> None:
    """RFC 9113 section 8.1: the rest is not wanted, which is no error; and what comes of it disturbs nobody."""

    async def play() -> None:
        wire = H2Wire(sends(start(), body(b"enough")))
        await wire.feed(f.PREFACE + f.settings({}) + request(1, end=False) + data(1, bytes(100)))
        await wire.settle()
        assert outcome(wire) == [("stream", 1, f.NO_ERROR)]
        await wire.feed(data(1, bytes(16384)) * 10 + data(1, b"", True) + request(3))
        await wire.settle()
        assert outcome(wire) == [("stream", 1, f.NO_ERROR), ("stream", 3, f.NO_ERROR)] or statuses(wire)[3] == "200"

    run(play)


def test_disconnect_on_reset() -> None:
    told = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        await send(start())
        await send(body(b"a", True))
        told.append((await receive())["type"])
        await send(body(b"b", True))

    async def play() -> None:
        lines: list[Any] = []
        wire = H2Wire(app, access=lambda *line: lines.append(line[:5]))
        stream = wire.ask()
        await wire.exchange()
        wire.client.reset_stream(stream, f.CANCEL)
        await wire.exchange()
        assert told == ["http.disconnect"]
        assert lines == [("192.0.2.7:4711", "GET", "/", "2", 499)]
        assert not wire.service.in_flight
        assert not wire.connection.streams

    run(play)


def test_connection_lost_tells_all() -> None:
    told = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        told.append((await receive())["type"])

    async def play() -> None:
        wire = H2Wire(app)
        for _ in range(3):
            wire.ask()
        await wire.exchange()
        wire.transport.lose()
        await wire.settle()
        assert told == ["http.disconnect"] * 3
        assert not wire.service.connections
        assert not wire.service.in_flight

    run(play)


def test_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 4000)

    async def play() -> None:
        wire = H2Wire(sends(start(), {"type": "http.response.pathsend", "path": str(file)}))
        wire.ask()
        for _ in range(300):
            await wire.exchange(3)
            if 1 in wire.answers and wire.answers[1].ended:
                break
            await asyncio.sleep(0.001)
        assert wire.answers[1].body == file.read_bytes()
        assert wire.answers[1]["content-length"] == "1024000"

    run(play)


@pytest.mark.parametrize(("length", "fields"), [(11, [("content-length", "11")]), (11, []), (10, [])])
def test_limit_of_a_body(length: int, fields: list[tuple[str, str]]) -> None:
    async def play() -> None:
        answer, wire = await get(echo, *fields, method="POST", body=bytes(length), limits=Limits(body=10))
        assert answer.status == (200 if length <= 10 else 413)
        assert answer.ended
        wire.ask()
        await wire.exchange()
        assert wire.answers[3].status == 200

    run(play)


def test_body_that_takes_too_long() -> None:
    async def play() -> None:
        wire = H2Wire(limits=Limits(request_body_time=5))
        slow, other = wire.ask(method="POST", end=False), wire.ask()
        await wire.exchange()
        wire.pass_seconds(4)
        await wire.exchange()
        assert slow not in wire.answers
        wire.pass_seconds(8)
        await wire.exchange()
        assert (wire.answers[slow].status, wire.answers[other].status) == (408, 200)
        assert wire.seen[0].whole is False

    run(play)


def test_time_of_a_body_does_not_pass_while_the_application_takes_nothing() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await asyncio.get_running_loop().create_future()

    async def play() -> None:
        wire = H2Wire(app, limits=Limits(request_body_time=5))
        stream = wire.ask(method="POST", body=bytes(65535), end=False)
        await wire.exchange()
        for seconds in range(4, 100, 4):
            wire.pass_seconds(seconds)
            await wire.exchange()
        assert stream not in wire.answers
        wire.transport.lose()
        wire.service.cancel()
        await wire.settle()

    run(play)


def test_access_log_counts_what_the_client_took() -> None:
    async def play() -> None:
        lines: list[Any] = []
        wire = H2Wire(
            sends(start(), body(bytes(200_000))), access=lambda *line: lines.append((line[1], line[3], line[4], line[5].sent))
        )
        wire.acknowledges = False
        stream = wire.ask()
        await wire.exchange()
        assert lines == []
        wire.client.reset_stream(stream)
        await wire.exchange()
        assert lines == [("GET", "2", 499, 65535)]

    run(play)


def test_client_that_a_proxy_tells_of() -> None:
    async def play() -> None:
        _, wire = await get(echo, ("x-forwarded-for", "203.0.113.9"), proxies=Proxies(Trusted("192.0.2.7")))
        assert wire.seen[0].scope["client"] == ("203.0.113.9", 0)
        _, wire = await get(echo, ("x-forwarded-for", "203.0.113.9"), proxies=Proxies(Trusted("192.0.2.8")))
        assert wire.seen[0].scope["client"] == ("192.0.2.7", 4711)

    run(play)


def test_head_that_was_seen_before_is_the_same_request() -> None:
    async def play() -> None:
        wire = H2Wire()
        for _ in range(3):
            wire.ask(("x-a", "1"))
            await wire.exchange()
        wire.seen[1].scope["headers"].clear()
        wire.ask(("x-a", "2"))
        wire.ask(("x-a", "1"))
        await wire.exchange()
        assert [seen.scope["headers"][1:] for seen in wire.seen] == [
            *([(b"x-a", b"1")], [], [(b"x-a", b"1")], [(b"x-a", b"2")], [(b"x-a", b"1")]),
        ]

    run(play)


def test_client_without_a_table() -> None:
    """RFC 7541 section 4.2: a client that makes its table smaller is told that nobody uses it."""

    async def play() -> None:
        wire = H2Wire(echo, begin=False)
        await wire.feed(f.PREFACE + f.settings({f.HEADER_TABLE_SIZE: 0}) + request(1) + request(3))
        await wire.settle()
        assert statuses(wire) == {1: "200", 3: "200"}
        assert wire.output.count(b"\x20\x88") == 1

    run(play)


def test_limit_of_concurrency() -> None:
    async def play() -> None:
        first = H2Wire(limits=Limits(concurrency=1))
        second = H2Wire(service=first.service)
        for wire in (first, second):
            wire.ask()
            await wire.exchange()
        assert first.answers[1].status == 200
        assert second.answers[1].status == 503
        assert second.answers[1]["retry-after"] == "1"
        assert second.goaways
        second.transport.lose()
        assert first.service.unwanted == 0

    run(play)


def test_limit_of_concurrency_counts_streams() -> None:
    async def play() -> None:
        go = asyncio.Event()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await go.wait()
            await echo(scope, receive, send)

        first = H2Wire(app, limits=Limits(concurrency=4))
        second = H2Wire(service=first.service)
        streams = [first.ask() for _ in range(4)]
        await first.exchange()
        assert [first.answers[stream].status for stream in streams if stream in first.answers] == [503]
        assert second.ask() == 1
        await second.exchange()
        assert 1 not in second.answers
        go.set()
        for wire in (first, second):
            await wire.exchange()
            assert {answer.status for answer in wire.answers.values()} <= {200, 503}
        assert first.service.streams == 0
        first.transport.lose()
        await first.settle()

    run(play)


def test_http1_connection_hands_over() -> None:
    """Prior knowledge (RFC 9113 section 3.3): the connection is HTTP/1.1's until the preface has come, in any pieces."""
    from support.wire import Wire, split_bytes
    from tricorn.protocols.context import Service
    from tricorn.protocols.http2.connection import make_http2

    async def play() -> None:
        for pieces in ([BEGIN + request(1)], split_bytes(BEGIN + request(1))):
            wire = Wire(echo, limits=Limits(concurrency=1))
            service: Service = wire.service
            service.http2 = make_http2(service)
            await wire.feed(*pieces)
            await wire.settle()
            assert statuses(wire)[1] == "200"
            assert len(service.connections) == 1
            refused = Wire(echo, service=service)
            await refused.feed(*pieces)
            await refused.settle()
            assert statuses(refused)[1] == "503"
            refused.transport.lose()
            assert service.unwanted == 0
            # Not behind a request, and not where it is not wanted.
            service.http2 = None
            wire.transport.lose()
            other = Wire(echo, service=service)
            await other.feed(*pieces[:18])
            await other.settle()
            assert other.output.startswith(b"HTTP/1.1 505 ")

    run(play)
