"""WebSocket over HTTP/2 (RFC 8441): the same session on a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.h2_raw import outcome, read_frames
from support.h2_wire import H2Wire
from support.play import body
from support.wire import App, Receive, Send
from tricorn.protocols.context import Phase
from tricorn.protocols.http2 import frames as f
from tricorn.protocols.websocket import frames as ws
from tricorn.protocols.websocket.connection import upgrade
from tricorn.protocols.websocket.settings import Settings


def run(play: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(play())  # type: ignore[arg-type]


def masked(frame: bytes) -> bytes:
    """A short frame as a client sends it, with a mask of zeros."""
    return bytes((frame[0], frame[1] | 0x80)) + bytes(4) + frame[2:]


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": "chat" if "chat" in scope["subprotocols"] else None})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


def open_wire(app: App, **settings: Any) -> H2Wire:
    wire = H2Wire(app)
    wire.service.websocket = upgrade(wire.http1, Settings(**settings))
    return wire


async def ask(wire: H2Wire, *headers: tuple[str, str], protocol: str = "websocket") -> int:
    stream: int = wire.client.get_next_available_stream_id()
    pseudo = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", "/chat"), (":authority", "a")]
    wire.client.send_headers(stream, [*pseudo, ("sec-websocket-version", "13"), *headers])
    await wire.exchange()
    return stream


def test_messages_both_ways() -> None:
    async def play() -> None:
        wire = open_wire(echo)
        stream = await ask(wire, ("sec-websocket-protocol", "chat"), ("origin", "http://a"))
        answer = wire.answers[stream]
        assert answer.status == 200
        assert answer["sec-websocket-protocol"] == "chat"
        assert answer["sec-websocket-accept"] is answer["upgrade"] is answer["connection"] is None
        assert wire.seen[0].scope["type"] == "websocket"
        assert (wire.seen[0].scope["http_version"], wire.seen[0].scope["path"]) == ("2", "/chat")
        for text in (b"hello", b"world"):
            wire.client.send_data(stream, masked(ws.text(text)))
            await wire.exchange()
        assert answer.body == ws.text(b"hello") + ws.text(b"world")
        # Beside it there are requests.
        other = wire.ask()
        wire.client.send_data(stream, masked(ws.close(1000)))
        await wire.exchange()
        assert answer.body.endswith(ws.close(1000))
        assert answer.ended
        assert other in wire.answers
        assert not wire.service.in_flight
        assert len(wire.service.connections) == 1

    run(play)


def test_answer_beside_a_request_that_fails() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        raise RuntimeError("no")

    async def play() -> None:
        wire = open_wire(app)
        stream = await ask(wire)
        assert wire.answers[stream].status == 500
        assert wire.answers[stream].ended
        assert len(wire.service.connections) == 1

    run(play)


@pytest.mark.parametrize(
    ("messages", "status", "text"),
    [
        ([{"type": "websocket.close"}], 403, b"the application refuses the connection"),
        (
            [
                {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"1")]},
                body(b"go ", True) | {"type": "websocket.http.response.body"},
                body(b"away") | {"type": "websocket.http.response.body"},
            ],
            401,
            b"go away",
        ),
    ],
)
def test_refusal(messages: list[dict[str, Any]], status: int, text: bytes) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        for message in messages:
            await send(message)

    async def play() -> None:
        wire = open_wire(app)
        stream = await ask(wire)
        answer = wire.answers[stream]
        assert (answer.status, answer.body, answer.ended) == (status, text, True)
        assert len(wire.service.connections) == 1

    run(play)


def test_what_is_no_handshake() -> None:
    async def play() -> None:
        wire = open_wire(echo)
        for headers, protocol, status in (
            ((("sec-websocket-extensions", "="),), "websocket", 400),
            ((), "telnet", 501),
        ):
            stream = await ask(wire, *headers, protocol=protocol)
            assert wire.answers[stream].status == status
        wire.service.websocket = None
        stream = await ask(wire)
        assert wire.answers[stream].status == 501

    run(play)


def test_settings_tell_of_it() -> None:
    """RFC 8441 section 3."""

    async def play() -> None:
        for websocket, value in ((None, 0), (lambda *given: None, 1)):
            wire = H2Wire(echo, websocket=websocket)
            await wire.exchange()
            first = read_frames(wire.output)[0]
            assert (f.ENABLE_CONNECT_PROTOCOL.to_bytes(2, "big") + value.to_bytes(4, "big")) in first.payload

    run(play)


@pytest.mark.parametrize("how", ["reset", "end", "lost"])
def test_client_that_leaves(how: str) -> None:
    told = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.append(await receive())

    async def play() -> None:
        wire = open_wire(app)
        stream = await ask(wire)
        if how == "reset":
            wire.client.reset_stream(stream)
        elif how == "end":
            wire.client.end_stream(stream)
        else:
            wire.transport.lose()
        await wire.exchange()
        assert [message["type"] for message in told] == ["websocket.disconnect"]
        assert told[0]["code"] == 1006
        assert not wire.service.in_flight
        assert len(wire.service.connections) == (how != "lost")

    run(play)


def test_last_message_ends_the_stream() -> None:
    """A browser sends its closing frame in the stream's last frame."""

    async def play() -> None:
        wire = open_wire(echo)
        stream = await ask(wire)
        wire.client.send_data(stream, masked(ws.close(1000)), end_stream=True)
        await wire.exchange()
        assert wire.answers[stream].body == ws.close(1000)
        assert wire.answers[stream].ended
        assert outcome(wire) == []
        wire.ask()
        await wire.exchange()
        assert len(wire.service.connections) == 1
        assert not wire.transport.closed

    run(play)


def test_drain_closes_with_1012() -> None:
    async def play() -> None:
        wire = open_wire(echo)
        stream = await ask(wire)
        wire.service.drain(Phase.STOPPING)
        await wire.exchange()
        assert wire.answers[stream].body == ws.close(1012)
        wire.client.send_data(stream, masked(ws.close(1012)))
        await wire.exchange()
        assert wire.answers[stream].ended
        assert wire.transport.eof_written

    run(play)


def test_application_that_is_slow_holds_the_client_back() -> None:
    """What waits is bounded by the session's inbox and the stream's window; nothing is lost."""
    go = asyncio.Event

    async def play() -> None:
        wait = go()
        got = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await wait.wait()
            while (message := await receive())["type"] == "websocket.receive":
                got.append(message["bytes"])

        wire = open_wire(app)
        stream = await ask(wire)
        frame, sent = masked(ws.binary(bytes(100))), 0
        while wire.client.local_flow_control_window(stream) >= len(frame):
            wire.client.send_data(stream, frame)
            sent += 1
            if sent % 50 == 0:
                await wire.exchange(1)
            assert sent < 5000, "the client is never held back"
        await wire.exchange()
        assert not got
        wait.set()
        for _ in range(100):
            await wire.exchange()
        assert got == [bytes(100)] * sent
        assert wire.client.local_flow_control_window(stream) > 16384
        wire.transport.lose()
        await wire.settle()

    run(play)


def test_client_that_is_slow_holds_the_application_back() -> None:
    sent = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for number in range(100):
            await send({"type": "websocket.send", "bytes": bytes(10_000)})
            sent.append(number)

    async def play() -> None:
        wire = open_wire(app)
        wire.acknowledges = False
        stream = await ask(wire)
        assert 6 <= len(sent) <= 20
        wire.acknowledges = True
        wire.client.acknowledge_received_data(len(wire.answers[stream].body), stream)
        await wire.exchange(300)
        assert len(sent) == 100
        assert len(wire.answers[stream].body) > 1_000_000

    run(play)


def test_many_beside_each_other() -> None:
    async def play() -> None:
        wire = open_wire(echo)
        streams = [await ask(wire) for _ in range(10)]
        for stream in streams:
            wire.client.send_data(stream, masked(ws.text(b"%d" % stream)))
        await wire.exchange()
        assert [wire.answers[stream].body for stream in streams] == [ws.text(b"%d" % stream) for stream in streams]
        assert outcome(wire) == []
        wire.transport.lose()
        await wire.settle()
        assert not wire.service.connections

    run(play)
