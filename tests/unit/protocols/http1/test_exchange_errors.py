"""What an application can get wrong: found before the wire, told to the application and in the log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from support.play import GET, OLD, answer, body, run, sends, start
from support.wire import App, Receive, Send, Wire
from tricorn.errors import AppError


def expect_500(app: App, message: str, caplog: pytest.LogCaptureFixture, data: bytes = GET) -> None:
    """Nothing of the response is on the wire but a 500, the error is in the log, and the connection ends."""

    async def play() -> Wire:
        return await answer(app, data)

    with caplog.at_level(logging.ERROR, "tricorn.error"):
        wire = asyncio.run(play())
    (response,) = wire.responses()
    assert (response.status, response["connection"]) == (500, "close")
    assert b"Internal Server Error" in response.body
    assert wire.transport.closed
    logged = "\n".join(record.getMessage() + (caplog.handler.format(record)) for record in caplog.records)
    assert message in logged, logged


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "without a response"),
        ([start()], "without completing"),
        ([body(b"a")], "before 'http.response.start'"),
        ([start(), start()], "twice"),
        ([{"type": "http.response.nonsense"}], "http.response.nonsense"),
        ([{"type": "websocket.send"}], "websocket.send"),
        ([{"status": 200}], "type"),
        ([{"type": "http.response.start"}, body()], "status"),
        ([start(status=99), body()], "99"),
        ([start(status=100), body()], "100"),
        ([start(status=101), body()], "101"),
        ([start(status=1000), body()], "1000"),
        ([start(status="200"), body()], "200"),
        ([start(status=None), body()], "None"),
        ([start((b"x\r\ny", b"a")), body()], "x"),
        ([start((b"", b"a")), body()], "token"),
        ([start((b"x y", b"a")), body()], "token"),
        ([start((b"x:", b"a")), body()], "token"),
        ([start(("x", b"a")), body()], "token"),
        ([start((b"x\xff", b"a")), body()], "token"),
        ([start((b"x", b"a\r\nSet-Cookie: b")), body()], "control characters"),
        ([start((b"x", b"a\nb")), body()], "control characters"),
        ([start((b"x", b"a\rb")), body()], "control characters"),
        ([start((b"x", b"a\0b")), body()], "control characters"),
        ([start((b"x", b"a\x7f")), body()], "control characters"),
        ([start((b"x", "a")), body()], "x"),
        ([start((b"x", 1)), body()], "x"),
        ([start((b"x",)), body()], "unpack"),
        ([start((b"content-length", b"x")), body()], "content-length"),
        ([start((b"content-length", b"-1")), body()], "content-length"),
        ([start((b"content-length", b"1"), (b"Content-Length", b"2")), body()], "content-length"),
        ([start((b"content-length", b"5")), body(b"1234")], "4 bytes"),
        ([start((b"content-length", b"5")), body(b"123456")], "6 bytes"),
        ([start((b"content-length", b"5")), body(b"123456", more=True)], "6 bytes so far"),
        ([start((b"transfer-encoding", b"gzip")), body()], "transfer-encoding"),
        ([start(), body("text")], "not bytes"),
        ([start(), body(None)], "not bytes"),
        ([start(), body(5)], "not bytes"),
    ],
    ids=str,
)
def test_what_must_not_go_on_the_wire_is_a_500(
    messages: list[dict[str, Any]], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    expect_500(sends(*messages), message, caplog)


def test_an_exception_before_the_response_is_a_500_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        raise LookupError("nothing found")

    expect_500(app, "nothing found", caplog)
    assert any(record.exc_info for record in caplog.records)
    assert "GET /" in caplog.text


def test_an_exception_between_start_and_body_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        raise LookupError("nothing found")

    expect_500(app, "nothing found", caplog)


def test_a_returned_value_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> Any:
        return 5

    expect_500(app, "returned 5", caplog)


def test_a_500_to_head_has_no_body(caplog: pytest.LogCaptureFixture) -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(), b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.output.endswith(b"\r\n\r\n")
        assert wire.responses()[0].status == 500


def test_the_application_can_catch_its_mistake_and_do_better() -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start((b"content-length", b"4")))
            await send(body(b"ab", more=True))
            with pytest.raises(AppError):
                await send(body(b"cdef"))
            with pytest.raises(AppError):
                await send(start())
            await send(body(b"cd"))

        wire = await answer(app)
        assert wire.responses()[0].body == b"abcd"
        assert not wire.transport.closed


def test_sending_after_the_end_is_an_error_that_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    @run
    async def play() -> None:
        wire = await answer(sends(start(), body(b"a"), body(b"b")), GET)
        assert [response.body for response in wire.responses()] == [b"a"]
        assert not wire.transport.closed
        await wire.feed(GET)
        await wire.settle()
        assert [response.body for response in wire.responses()] == [b"a", b"a"]

    assert "after the response was complete" in caplog.text


@pytest.mark.parametrize(
    ("request_bytes", "headers", "reset"),
    [(GET, [], False), (GET, [(b"content-length", b"9")], False), (OLD, [], True)],
    ids=["chunked", "length", "until the end of the connection"],
)
@pytest.mark.parametrize("how", ["raise", "return", "too long", "wrong type"])
def test_a_response_that_breaks_off_is_told_from_a_whole_one(
    request_bytes: bytes, headers: list[Any], reset: bool, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start(*headers))
        await send(body(b"abc", more=True))
        if how == "raise":
            raise ValueError("broke off")
        if how == "too long":
            await send(body(b"x" * 50, more=True))
            raise ValueError("without Content-Length nothing is too long")
        if how == "wrong type":
            await send(body("text"))

    @run
    async def play() -> None:
        wire = await answer(app, request_bytes)
        assert wire.transport.closed
        assert wire.transport.reset is reset
        (response,) = wire.responses()
        assert reset or not response.whole

    assert caplog.records


def test_a_task_left_behind_does_not_complete_a_response_that_broke_off(caplog: pytest.LogCaptureFixture) -> None:
    dropped: list[bytes] = []
    left: list[asyncio.Task[None]] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        async def send_on() -> None:
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            for data in (b"def", b"ghi"):
                await send(body(data, more=data == b"def"))
                dropped.append(data)

        await send(start())
        await send(body(b"abc", more=True))
        left.append(asyncio.ensure_future(send_on()))
        raise ValueError("broke off")

    @run
    async def play() -> None:
        wire = Wire(app)
        wire.transport.unsent = 1  # So that the transport lives on.
        await wire.feed(GET + GET)
        await wire.settle()
        assert dropped == [b"def", b"ghi"]
        assert left[0].done()
        assert len(wire.seen) == 1
        (response,) = wire.responses()
        assert not response.whole

    assert "broke off" in caplog.text


def test_an_exception_after_the_response_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"a"))
        raise ValueError("too late")

    @run
    async def play() -> None:
        wire = await answer(app, GET + GET)
        assert [response.body for response in wire.responses()] == [b"a", b"a"]

    assert "too late" in caplog.text


def test_a_client_that_left_is_no_error_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        try:
            await send(start())
        except OSError as error:
            raise RuntimeError("wrapped by a framework") from error

    @run
    async def play() -> None:
        wire = await answer(app)
        wire.transport.lose()
        await wire.settle()

    assert not caplog.records
