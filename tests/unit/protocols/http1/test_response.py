"""From an application's response to bytes: framing, Connection, defaults, and what is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from support.play import GET, OLD, answer, body, run, sends, start
from support.wire import Receive, Send, Wire
from tricorn.protocols.defaults import Defaults
from tricorn.protocols.http1.response import ResponseHeads, plain

HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSING = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
KEPT = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"


def respond(messages: list[dict[str, Any]], data: bytes = GET, **options: Any) -> Wire:
    """The connection after ``messages`` were sent in answer to ``data``."""

    async def play() -> Wire:
        return await answer(sends(*messages), data, **options)

    wire = asyncio.run(play())
    assert not wire.transport.wrong
    return wire


WHOLE = [start(), body(b"hello")]
GIVEN = [start((b"content-length", b"5")), body(b"hello")]
PIECES = [start(), body(b"hel", more=True), body(b"lo")]
GIVEN_PIECES = [start((b"content-length", b"5")), body(b"hel", more=True), body(b"lo")]


@pytest.mark.parametrize(
    ("data", "messages", "length", "coding", "connection", "read"),
    [
        (GET, WHOLE, "5", None, None, b"hello"),
        (GET, GIVEN, "5", None, None, b"hello"),
        (GET, PIECES, None, "chunked", None, b"hello"),
        (GET, GIVEN_PIECES, "5", None, None, b"hello"),
        (OLD, WHOLE, "5", None, "close", b"hello"),
        (OLD, PIECES, None, None, "close", b"hello"),
        (KEPT, WHOLE, "5", None, "keep-alive", b"hello"),
        (KEPT, PIECES, None, None, "close", b"hello"),
        (KEPT, GIVEN_PIECES, "5", None, "keep-alive", b"hello"),
        (HEAD, WHOLE, "5", None, None, b""),
        (HEAD, GIVEN, "5", None, None, b""),
        (HEAD, PIECES, None, None, None, b""),
        (HEAD, GIVEN_PIECES, "5", None, None, b""),
        (HEAD, [start((b"content-length", b"5")), body()], "5", None, None, b""),
        (HEAD, [start(), body()], None, None, None, b""),
        (GET, [start(), body()], "0", None, None, b""),
        (GET, [start(), body(more=True), body()], None, "chunked", None, b""),
        (GET, [start(), body(b"hello", more=True), body()], None, "chunked", None, b"hello"),
        (CLOSING, WHOLE, "5", None, "close", b"hello"),
        (CLOSING, PIECES, None, "chunked", "close", b"hello"),
        (CLOSING, GIVEN_PIECES, "5", None, "close", b"hello"),
        (CLOSING, [start(status=204), body()], None, None, "close", b""),
        (GET, [start(status=204), body()], None, None, None, b""),
        (GET, [start(status=204), body(b"hello")], None, None, None, b""),
        (GET, [start((b"content-length", b"0"), status=204), body()], None, None, None, b""),
        (GET, [start(status=304), body()], None, None, None, b""),
        (GET, [start((b"content-length", b"5"), status=304), body()], "5", None, None, b""),
        (GET, [start(status=304), body(b"he", more=True), body(b"llo")], None, None, None, b""),
        (GET, [start(status=205), body()], "0", None, None, b""),
        (GET, [start((b"content-length", b"5"), status=205), body(b"hello")], "0", None, None, b""),
        (GET, [start(status=205), *PIECES[1:]], "0", None, None, b""),
        (GET, [start((b"transfer-encoding", b"chunked")), body(b"hello")], "5", None, None, b"hello"),
        (
            GET,
            [start((b"Transfer-Encoding", b"chunked")), body(b"he", more=True), body(b"llo")],
            None,
            "chunked",
            None,
            b"hello",
        ),
        (OLD, [start((b"transfer-encoding", b"chunked")), body(b"he", more=True), body(b"llo")], None, None, "close", b"hello"),
        (GET, [start((b"content-length", b"5"), (b"Content-Length", b"5")), body(b"hello")], "5", None, None, b"hello"),
        (GET, [start(), body(bytearray(b"hello"))], "5", None, None, b"hello"),
        (GET, [start(), body(memoryview(b"hello"), more=True), body()], None, "chunked", None, b"hello"),
    ],
)
def test_framing(
    data: bytes, messages: list[dict[str, Any]], length: str | None, coding: str | None, connection: str | None, read: bytes
) -> None:
    for _ in range(3):  # The second time the head may be remembered, the third time it may be the most recent.
        wire = respond(messages, data)
        (response,) = wire.responses()
        assert (response["content-length"], response["transfer-encoding"]) == (length, coding)
        assert (response["connection"], response.body, response.whole) == (connection, read, True)
        assert wire.transport.closed is (connection == "close")


LARGE = bytes(range(256)) * 400
SIZE = (b"content-length", b"%d" % len(LARGE))


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("data", [GET, OLD, HEAD])
@pytest.mark.parametrize(
    "messages",
    [
        [start(), body(LARGE)],
        [start(SIZE), body(LARGE)],
        [start(SIZE), body(LARGE, more=True), body()],
        [start(SIZE), body(LARGE[:9], more=True), body(LARGE[9:])],
        [start(), body(LARGE, more=True), body()],
        [start(), body(LARGE[:9], more=True), body(LARGE[9:], more=True), body()],
        [start(), body(LARGE[:50_000], more=True), body(LARGE[50_000:])],
        [start(), *(body(LARGE[at : at + 100], more=True) for at in range(0, len(LARGE), 100)), body()],
    ],
    ids=range(8),
)
def test_large_bodies_arrive_whole_and_in_order(messages: list[dict[str, Any]], data: bytes, gathers: bool) -> None:
    @run
    async def play() -> None:
        wire = Wire(sends(*messages))
        wire.service.gathers = gathers
        await wire.feed(data, data)
        await wire.settle()
        assert not wire.transport.wrong
        count = 1 if data is OLD else 2
        assert [response.body for response in wire.responses()] == [b"" if data is HEAD else LARGE] * count
        assert gathers or not wire.transport.gathered


@pytest.mark.parametrize("more", [False, True])
def test_a_large_body_is_not_copied_where_the_transport_gathers(more: bool) -> None:
    @run
    async def play() -> None:
        wire = Wire(sends(start(SIZE), body(LARGE, more=more), *[body()] * more))
        wire.service.gathers = True
        await wire.feed(GET)
        await wire.settle()
        head, sent = wire.transport.gathered
        assert sent is LARGE
        assert wire.transport.writes == [head + LARGE]


def test_a_large_chunk_is_not_copied_either() -> None:
    @run
    async def play() -> None:
        wire = Wire(sends(start(), body(LARGE, more=True), body()))
        wire.service.gathers = True
        await wire.feed(GET)
        await wire.settle()
        _, size, sent, end = wire.transport.gathered
        assert sent is LARGE
        assert (size, end) == (b"%x\r\n" % len(LARGE), b"\r\n")


def test_through_tls_a_large_body_is_not_copied_behind_its_head() -> None:
    """TLS copies it anyway; the head is then a record of its own."""

    @run
    async def play() -> None:
        wire = Wire(sends(start(SIZE), body(LARGE)))
        wire.service.gathers = False
        wire.transport.get_extra_info = {"sslcontext": object()}.get  # type: ignore[assignment]
        await wire.feed(GET)
        await wire.settle()
        _, sent = wire.transport.gathered
        assert sent is LARGE
        assert [response.body for response in wire.responses()] == [LARGE]


def test_through_tls_small_pieces_are_one_record() -> None:
    @run
    async def play() -> None:
        wire = Wire(sends(start(), *[body(b"x" * 1000, more=True)] * 3, body()))
        wire.transport.get_extra_info = {"sslcontext": object()}.get  # type: ignore[assignment]
        await wire.feed(GET)
        await wire.settle()
        assert not wire.transport.gathered
        assert [response.body for response in wire.responses()] == [b"x" * 3000]


def test_many_small_chunks_in_one_turn_leave_before_they_fill_the_memory() -> None:
    @run
    async def play() -> None:
        count = 100_000
        wire = await answer(sends(start(), *[body(b"x", more=True)] * count, body()))
        assert wire.responses()[0].body == b"x" * count
        assert max(map(len, wire.transport.writes)) < 80_000


@pytest.mark.parametrize(
    ("value", "closed"),
    [(b"close", True), (b"Close", True), (b"x, close", True), (b"keep-alive", False), (b"x", False)],
)
def test_the_application_may_end_the_connection(value: bytes, closed: bool) -> None:
    wire = respond([start((b"Connection", value)), body(b"a")])
    (response,) = wire.responses()
    assert wire.transport.closed is closed
    assert response["Connection".lower()] == ("close" if closed else None)


@pytest.mark.parametrize("status", [200, 201, 404, 418, 451, 500, 599, 600, 999])
def test_any_final_status_goes_out_with_its_reason(status: int) -> None:
    wire = respond([start(status=status), body(b"a")])
    assert wire.output.startswith(b"HTTP/1.1 %d " % status)
    assert wire.responses()[0].status == status


def test_header_lines_go_out_as_they_are_and_in_order() -> None:
    fields = [(b"X-One", b"1"), (b"x-two", b" caf\xe9\t2"), (b"X-One", b""), (b"Set-Cookie", b"a=b"), (b"Set-Cookie", b"c=d")]
    for _ in range(3):
        lines = respond([start(*fields), body()]).output.split(b"\r\n")
        assert [line for line in lines if line.lower().startswith((b"x-", b"set-"))] == [b"%b: %b" % field for field in fields]


def make(kind: str) -> Iterable[Any]:
    fields = [(b"x-one", b"1"), (b"x-two", b"2")]
    kinds: dict[str, Iterable[Any]] = {
        "list of tuples": fields,
        "tuple": tuple(fields),
        "list of lists": [list(field) for field in fields],
        "generator": (field for field in fields),
        "iterator": iter(fields),
        "dictionary's items": dict(fields).items(),
    }
    return kinds[kind]


@pytest.mark.parametrize("kind", ["list of tuples", "tuple", "list of lists", "generator", "iterator", "dictionary's items"])
def test_headers_may_be_any_iterable(kind: str) -> None:
    for _ in range(3):
        (response,) = respond([start() | {"headers": make(kind)}, body(b"a")]).responses()
        assert (response["x-one"], response["x-two"]) == ("1", "2")


def test_headers_may_be_left_away() -> None:
    (response,) = respond([{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}]).responses()
    assert (response.status, response["content-length"]) == (200, "0")


def test_the_applications_own_date_and_server_replace_ours() -> None:
    def defaults() -> Defaults:
        return Defaults(server=b"server: ours\r\n", extra=b"x-extra: 1\r\n")

    (ours,) = respond([start(), body()], defaults=defaults()).responses()
    assert (ours["server"], ours["x-extra"]) == ("ours", "1")
    assert ours["date"] is not None
    assert ours["date"].endswith(" GMT")
    (theirs,) = respond([start((b"Server", b"mine"), (b"date", b"today")), body()], defaults=defaults()).responses()
    own = {name.lower(): value for name, value in theirs.headers}
    assert (own[b"server"], own[b"date"], own[b"x-extra"]) == (b"mine", b"today", b"1")
    assert len(theirs.headers) == len({name.lower() for name, _ in theirs.headers})


def test_the_date_is_renewed_in_remembered_heads_too() -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(*WHOLE))
        wire.service.defaults.renew(b"Thu, 01 Jan 1970 00:00:00 GMT")
        await wire.feed(GET)
        await wire.settle()
        assert wire.responses()[1]["date"] == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_without_defaults_there_is_nothing_of_ours() -> None:
    (response,) = respond([start(), body()], defaults=Defaults(server=b""), date_header=False).responses()
    assert [name for name, _ in response.headers] == [b"content-length"]


def test_one_applications_remembered_head_is_not_anothers() -> None:
    """The same start, and yet other framing: by method, version, what is known of the length, and what ends the connection."""

    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start((b"x", b"y")))
            pieces = int(scope["query_string"] or 1)
            for left in reversed(range(pieces)):
                await send(body(b"a", more=left > 0))

        for _ in range(3):
            requests = [GET, GET.replace(b"/ ", b"/?3 "), HEAD, CLOSING]
            wire = await answer(app, *requests)
            first, second, third, last = wire.responses()
            assert (first["content-length"], first.body) == ("1", b"a")
            assert (second["transfer-encoding"], second.body) == ("chunked", b"aaa")
            assert (third["content-length"], third.body) == ("1", b"")
            assert (last["connection"], last.body) == ("close", b"a")


def test_a_head_remembered_of_a_connection_that_closed_does_not_close_others() -> None:
    heads = ResponseHeads(Defaults())
    for name in (b"a", b"b"):
        messages = [start((b"x-closing-first", name)), body(b"c")]
        for data, connection in [(CLOSING, "close"), (CLOSING, "close"), (GET, None), (CLOSING, "close"), (GET, None)]:
            (response,) = respond(messages, data, heads=heads).responses()
            assert (response["connection"], response["content-length"]) == (connection, "1")


def test_responses_of_one_size_are_not_taken_for_each_other() -> None:
    kinds = [(status, value, given) for status in (200, 201) for value in (b"a", b"b") for given in (False, True)]
    heads, shared = ResponseHeads(Defaults()), list[tuple[bytes, bytes]]()
    for status, value, given in [*kinds, *kinds, *kinds[::-1], *(kind for kind in kinds for _ in range(3))]:
        # An application may use one list for all of its responses.
        shared[:] = [(b"x", value), *([(b"content-length", b"1")] if given else [])]
        messages = [start(status=status) | {"headers": shared}, body(b"c")]
        (response,) = respond(messages, heads=heads).responses()
        found = (response.status, response["x"], response["content-length"], response.body)
        assert found == (status, value.decode(), "1", b"c")
        shared.append((b"y", b"z"))


def test_no_secrets_are_remembered_of_responses() -> None:
    heads = ResponseHeads(Defaults())
    for _ in range(3):
        respond([start((b"Set-Cookie", b"secret=1"), (b"vary", b"y")), body(b"a")], heads=heads)
    assert heads.encoded
    assert heads.lines
    assert "secret" not in repr((heads.encoded, heads.lines, heads.recent))


def test_our_own_answers_are_whole_responses() -> None:
    data = plain(400, "b\u00e4d", ResponseHeads(Defaults()), extra=b"retry-after: 1\r\n")
    head, _, text = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-length: %d\r\n" % len(text) in head
    assert b"connection: close" in head
    assert b"retry-after: 1" in head
    assert plain(400, "bad", ResponseHeads(Defaults()), with_body=False).endswith(b"\r\n\r\n")
