"""One request as the application sees it: scope and receive (ASGI HTTP specification 2.3)."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import pytest
from support.play import GET, answer, body, run, sends, start
from support.wire import Receive, Send, Wire, echo
from tricorn.protocols.asgi import ClientDisconnected


def scope_of(data: bytes, **options: Any) -> dict[str, Any]:
    async def play() -> Wire:
        return await answer(echo, data, **options)

    return asyncio.run(play()).seen[0].scope


def test_the_scope_of_a_plain_request() -> None:
    scope = scope_of(b"GET /a%20b/%C3%A9%2Fc?d=%20e HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-two:\t2 \r\nX-One: 3\r\n\r\n")
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.3"}
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/a b/\u00e9/c"
    assert scope["raw_path"] == b"/a%20b/%C3%A9%2Fc"
    assert scope["query_string"] == b"d=%20e"
    assert scope["root_path"] == ""
    assert list(scope["headers"]) == [(b"host", b"a"), (b"x-one", b"1"), (b"x-two", b"2"), (b"x-one", b"3")]
    assert tuple(scope["client"]) == ("192.0.2.7", 4711)
    assert tuple(scope["server"]) == ("192.0.2.1", 8000)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/%41", "/A"),
        ("/%zz%", "/%zz%"),
        ("/%ff", "/\ufffd"),
        ("/a+b", "/a+b"),
        ("/a;b=c", "/a;b=c"),
        ("//a", "//a"),
        ("/a/../b", "/a/../b"),
    ],
)
def test_the_path_is_decoded_once_and_otherwise_left_alone(target: str, path: str) -> None:
    scope = scope_of(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode("ascii"))
    assert (scope["path"], scope["raw_path"]) == (path, target.encode("ascii"))


def test_a_root_path_stands_before_the_path() -> None:
    scope = scope_of(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n", root_path="/a")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/a", "/a/b", b"/a/b")


def test_the_absolute_form_replaces_host() -> None:
    scope = scope_of(b"GET http://b:80/c?d HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n")
    assert (scope["path"], scope["query_string"]) == ("/c", b"d")
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"b:80"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_scope_says_the_version(version: str) -> None:
    assert scope_of(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode("ascii"))["http_version"] == version


def test_each_request_has_its_own_state_and_scope() -> None:
    @run
    async def play() -> None:
        state = {"count": 1}
        wire = await answer(echo, GET + GET, state=state)
        first, second = (seen.scope for seen in wire.seen)
        assert first["state"] == state
        first["state"]["count"] = first["path"] = first["asgi"]["version"] = 2
        assert second["state"] == state == {"count": 1}
        assert second["path"] == "/"
        assert second["asgi"]["version"] in ("3.0", 2)


def test_without_lifespan_there_is_no_state() -> None:
    assert "state" not in scope_of(GET)


def test_over_a_unix_socket_there_is_no_client() -> None:
    async def play() -> Wire:
        wire = Wire(echo, extra={"peername": "", "sockname": "/run/a.sock"})
        await wire.feed(GET)
        await wire.settle()
        return wire

    scope = asyncio.run(play()).seen[0].scope
    assert scope["client"] is None
    assert tuple(scope["server"]) == ("/run/a.sock", None)


def test_a_body_is_received_as_it_comes() -> None:
    @run
    async def play() -> None:
        messages: list[dict[str, Any]] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            while not messages or messages[-1].get("more_body"):
                messages.append(await receive())
            await send(start())
            await send(body())
            messages.append(await receive())

        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await answer(app, head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")
        assert b"".join(message.get("body", b"") for message in messages) == b"abcde"
        assert [message["type"] for message in messages] == ["http.request"] * (len(messages) - 1) + ["http.disconnect"]
        assert [message["more_body"] for message in messages[:-1]] == [True] * (len(messages) - 2) + [False]


def test_a_request_without_body_is_one_empty_message() -> None:
    @run
    async def play() -> None:
        got: list[dict[str, Any]] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            got.append(await receive())
            await send(start())
            await send(body())

        await answer(app)
        assert got == [{"type": "http.request", "body": b"", "more_body": False}]


def test_receive_waits_for_the_end_of_the_response() -> None:
    @run
    async def play() -> None:
        told: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            async def listen() -> None:
                await receive()
                told.append((await receive())["type"])

            listener = asyncio.ensure_future(listen())
            await send(start())
            await send(body(b"a", more=True))
            assert told == []
            await send(body())
            await listener

        await answer(app)
        assert told == ["http.disconnect"]


def test_a_client_that_leaves_is_told_of_to_whoever_waits() -> None:
    @run
    async def play() -> None:
        told: list[Any] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            told.append((await receive())["type"])

        wire = await answer(app)
        assert told == []
        wire.transport.lose()
        await wire.settle()
        assert told == ["http.disconnect"]


def test_what_is_sent_to_a_client_that_has_left_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """So that what an application does behind its response still happens, as Starlette's background tasks."""

    @run
    async def play() -> None:
        done: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await gone.wait()
            # However long it took: what counts is how long it sends.
            wire.pass_seconds(3600)
            for message in (start(), body(b"a", more=True), body(b"b")):
                await send(message)
            done.append("background task")

        gone = asyncio.Event()
        wire = await answer(app)
        wire.transport.lose()
        gone.set()
        await wire.settle()
        assert done == ["background task"]
        assert wire.output == b""

    assert not caplog.records


@pytest.mark.parametrize(
    "messages", [[body(b"a")], [body(b"", more=True), body(b"a", more=True), body()]], ids=["whole", "stream"]
)
def test_nothing_is_written_to_a_connection_that_closes(messages: list[dict[str, Any]]) -> None:
    """Between a cut and the loop's word of it the exchange knows nothing; what it sends is lost, and no loop complains."""

    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            wire.transport.abort()
            await send(start())
            for message in messages:
                await send(message)

        wire = Wire(app)
        await wire.feed(GET)
        await wire.settle()
        assert wire.transport.lost
        assert wire.transport.wrong == []


def test_a_sender_that_goes_on_for_a_client_that_has_left_does_not_keep_a_processor_busy() -> None:
    @run
    async def play() -> None:
        sent = 0

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            nonlocal sent
            await gone.wait()
            while True:
                await send(body(b"a", more=True))
                sent += 1

        gone = asyncio.Event()
        wire = await answer(app)
        wire.transport.lose()
        gone.set()
        begin = time.monotonic()
        for _ in range(2000):
            await asyncio.sleep(0)
        assert 100 < sent < 600 + (time.monotonic() - begin) / 0.01
        wire.service.cancel()


@pytest.mark.parametrize("more", [True, False], ids=["a stream", "ends"])
def test_sending_without_end_to_a_client_that_has_left_is_ended(more: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It hangs nobody meanwhile: in each turn of the loop one message is dropped."""

    @run
    async def play() -> None:
        raised: list[OSError] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await gone.wait()
            try:
                while True:
                    await send(body(b"a", more=more))
            except OSError as error:
                raised.append(error)
                raise

        gone = asyncio.Event()
        wire = await answer(app)
        wire.transport.lose()
        gone.set()
        await wire.settle()
        assert not raised
        wire.pass_seconds(5)
        await wire.settle()
        assert [type(error) for error in raised] == [ClientDisconnected]
        assert not wire.service.in_flight

    assert not caplog.records


def test_a_client_that_leaves_in_the_middle_of_its_body() -> None:
    @run
    async def play() -> None:
        told: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            told.extend([(await receive())["type"], (await receive())["type"]])

        wire = await answer(app, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        await wire.half_close()
        await wire.settle()
        assert told == ["http.request", "http.disconnect"]
        assert wire.output == b""
        assert wire.transport.closed


def test_a_client_that_half_closes_gets_its_answer_and_the_application_is_told_later() -> None:
    @run
    async def play() -> None:
        go = asyncio.Event()
        told: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            told.append((await receive())["type"])
            await go.wait()
            await send(start())
            await send(body(b"late"))

        wire = await answer(app)
        await wire.half_close()
        await wire.settle()
        assert told == []
        wire.pass_silence()
        await wire.settle()
        assert told == ["http.disconnect"]
        go.set()
        await wire.settle()
        assert [response.body for response in wire.responses()] == [b"late"]
        assert wire.transport.closed


@pytest.mark.parametrize("then", [[], [start(), body()]], ids=["returns", "starts anew"])
def test_breaking_off_when_told_of_the_clients_leaving_is_no_error(
    then: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """As sse-starlette does, and the MCP SDK with a second response behind the first."""

    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            await send(body(b"event", more=True))
            while (await receive())["type"] != "http.disconnect":
                continue
            for message in then:
                await send(message)

        wire = await answer(app)
        await wire.half_close()
        wire.pass_silence()
        await wire.settle()
        assert wire.transport.closed
        assert [response.whole for response in wire.responses()] == [False]

    assert not caplog.records


def test_half_closed_clients_get_all_answers_they_have_asked_for() -> None:
    @run
    async def play() -> None:
        wire = Wire(echo)
        wire.transport.protocol.data_received(GET + GET + GET)
        await wire.half_close()
        await wire.settle()
        assert len(wire.responses()) == 3
        assert wire.transport.closed


@pytest.mark.parametrize("data", [b"", b"GET / HT", GET + b"GET / HT"])
def test_half_closing_without_a_whole_request_is_the_end(data: bytes) -> None:
    @run
    async def play() -> None:
        wire = Wire(echo)
        if data:
            await wire.feed(data)
        await wire.settle()
        await wire.half_close()
        await wire.settle()
        assert wire.transport.closed
        assert len(wire.responses()) == data.count(b"\r\n\r\n")


WAITING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"


def test_100_continue_is_sent_when_the_application_wants_the_body() -> None:
    @run
    async def play() -> None:
        wire = await answer(echo, WAITING)
        assert wire.output == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.feed(b"abc")
        await wire.settle()
        assert [response.status for response in wire.responses()] == [100, 200]
        assert wire.responses()[1].body == b"abc"
        assert not wire.transport.closed


def test_no_100_continue_when_the_body_is_not_wanted_and_the_connection_ends() -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(start(status=403), body(b"no")), WAITING)
        (response,) = wire.responses()
        assert (response.status, response["connection"]) == (403, "close")
        assert wire.transport.closed


def test_no_100_continue_when_the_body_has_come_already() -> None:
    @run
    async def play() -> None:
        wire = await answer(echo, WAITING + b"abc" + GET)
        assert [response.status for response in wire.responses()] == [200, 200]


def test_no_100_continue_in_the_middle_of_the_response() -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            await send(body(b"a", more=True))
            await receive()
            await send(body(b"b"))

        wire = await answer(app, WAITING)
        await wire.feed(b"abc")
        await wire.settle()
        assert [response.status for response in wire.responses()] == [200]


@pytest.mark.parametrize("line", [b"Expect: 100-continue\r\n", b""])
def test_no_100_continue_in_http_1_0_nor_unasked(line: bytes) -> None:
    @run
    async def play() -> None:
        version = b"1.0" if line else b"1.1"
        wire = await answer(echo, b"POST / HTTP/%b\r\nHost: a\r\n%bContent-Length: 3\r\n\r\n" % (version, line))
        assert wire.output == b""
        await wire.feed(b"abc")
        await wire.settle()
        assert [response.status for response in wire.responses()] == [200]


@pytest.mark.parametrize("sent", [b"hello", b""], ids=["with a body", "without"])
def test_after_the_response_nobody_is_told_that_the_body_was_empty(sent: bytes) -> None:
    got: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"a"))
        got.append(await receive())

    @run
    async def play() -> None:
        await answer(app, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(sent), sent))

    assert got == [{"type": "http.disconnect"}]


def test_cancelled_before_it_has_begun() -> None:
    """A task that is cancelled before its first step never runs, so nothing in it can tell that it is over."""

    async def play() -> None:
        wire = Wire(echo)
        wire.connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.service.in_flight or sys.version_info >= (3, 12), "tasks start at once from 3.12 on"
        wire.service.cancel()
        await asyncio.wait_for(wire.service.emptied(), 10)
        assert not wire.service.in_flight

    asyncio.run(play())
