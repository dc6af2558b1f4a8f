"""One WebSocket as application and client see it, over a connection without sockets and with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from support.play import Clock
from support.websocket_wire import BINARY, CLOSE, PING, PONG, TEXT, Peer, client_close, client_frame, request
from support.wire import Receive, Send
from tricorn.errors import AppError
from tricorn.protocols.asgi import ClientDisconnected
from tricorn.protocols.context import Phase
from tricorn.protocols.limits import Limits
from tricorn.protocols.websocket.settings import Settings, reader_of

Scenario = Callable[[], Coroutine[Any, Any, None]]
CODE = {code: code.to_bytes(2, "big") for code in (1000, 1001, 1002, 1007, 1009, 1011, 1012, 3001)}


def play(scenario: Scenario) -> None:
    asyncio.run(scenario())


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    assert (await receive()) == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send(message | {"type": "websocket.send"})


class Diary:
    """An echo that keeps what it received, and how its last words were taken."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.scope: dict[str, Any] = {}
        self.error: BaseException | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] == "websocket.connect":
                await send({"type": "websocket.accept"})
            elif message["type"] == "websocket.receive":
                await send(message | {"type": "websocket.send"})
            else:
                try:
                    await send({"type": "websocket.send", "text": "too late"})
                except BaseException as error:
                    self.error = error
                return

    @property
    def end(self) -> dict[str, Any]:
        return self.received[-1]


def script(*messages: dict[str, Any], result: Any = None) -> Callable[..., Awaitable[Any]]:
    """An application that sends so many messages and returns."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> Any:
        await receive()
        for message in messages:
            await send(message)
        return result

    return app


ACCEPT = {"type": "websocket.accept"}


def test_scope() -> None:
    async def scenario() -> None:
        diary = Diary()
        peer = Peer(diary, root_path="/api", state={"db": 1})
        await peer.open("Sec-WebSocket-Protocol: a, b", "Origin: http://elsewhere", path="/a%20b?x=%20")
        scope = diary.scope
        assert scope["type"] == "websocket"
        assert scope["scheme"] == "ws"
        assert scope["http_version"] == "1.1"
        assert "method" not in scope
        assert (scope["path"], scope["raw_path"]) == ("/api/a b", b"/api/a%20b")
        assert (scope["root_path"], scope["query_string"]) == ("/api", b"x=%20")
        assert scope["subprotocols"] == ["a", "b"]
        assert scope["client"] == ("192.0.2.7", 4711)
        assert scope["state"] == {"db": 1}
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
        assert scope["extensions"] == {"websocket.http.response": {}}
        assert (b"origin", b"http://elsewhere") in scope["headers"]

    play(scenario)


def test_messages_go_to_and_fro_and_each_side_may_close() -> None:
    async def scenario() -> None:
        diary = Diary()
        peer = Peer(diary)
        await peer.open(path="/ws?q")
        assert peer.status == 101
        assert peer.service.in_flight, "it counts as work in progress"
        await peer.say(client_frame(TEXT, "grüße".encode()), client_frame(BINARY, b"\xff"), client_frame(PING, b"?"))
        await peer.say(client_close(3001, "bye"))
        assert peer.frames == [(TEXT, "grüße".encode()), (BINARY, b"\xff"), (PONG, b"?"), (CLOSE, CODE[3001])]
        assert diary.received[1:] == [
            {"type": "websocket.receive", "text": "grüße"},
            {"type": "websocket.receive", "bytes": b"\xff"},
            {"type": "websocket.disconnect", "code": 3001, "reason": "bye"},
        ]
        assert isinstance(diary.error, ClientDisconnected)
        assert isinstance(diary.error, OSError)
        assert peer.transport.lost
        assert not peer.service.in_flight
        assert not peer.service.connections
        assert peer.service.requests == 1
        assert peer.log == [
            '192.0.2.7:4711 - "WebSocket /ws?q" [accepted]',
            '192.0.2.7:4711 - "WebSocket /ws?q" [connection closed 3001]',
        ]

    play(scenario)


def test_what_comes_with_the_handshake_or_in_single_bytes_is_not_lost() -> None:
    async def scenario() -> None:
        whole, bytewise = Peer(echo), Peer(echo)
        data = client_frame(TEXT, b"early") + client_frame(0x02, b"a") + client_frame(0x80, b"b") + client_close(1000)
        await whole.open(behind=data)
        await bytewise.open()
        await bytewise.say(*(data[index : index + 1] for index in range(len(data))))
        assert whole.frames == bytewise.frames == [(TEXT, b"early"), (BINARY, b"ab"), (CLOSE, CODE[1000])]

    play(scenario)


def test_many_messages_without_a_pause_are_one_write_behind_the_first(clock: Clock) -> None:
    async def scenario() -> None:
        peer = Peer(script(ACCEPT, *({"type": "websocket.send", "text": str(n)} for n in range(20))))
        await peer.open()
        assert len(peer.frames) == 21
        # The handshake's answer, the first message, and the others.
        assert len(peer.transport.writes) == 3

    play(scenario)


def test_a_message_after_a_pause_leaves_at_once(clock: Clock) -> None:
    """Also if the handler keeps the event loop from turning."""
    sent: list[int] = []

    async def scenario() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            for n in range(5):
                clock.now += 0.002
                await send({"type": "websocket.send", "text": str(n)})
                sent.append(len(peer.frames))

        peer = Peer(app)
        await peer.open()
        assert sent == [1, 2, 3, 4, 5]

    play(scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_first_answer_leaves_at_once_and_the_others_together(loop: str, clock: Clock) -> None:
    """To wait for others would cost the most common exchange, one answer to one message, a round of the event loop."""
    written: list[int] = []

    async def scenario() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            while (await receive())["type"] == "websocket.receive":
                for n in range(20):
                    await send({"type": "websocket.send", "text": str(n)})
                    written.append(len(peer.transport.writes))

        peer = Peer(app)
        await peer.open()
        for _ in range(2):
            before = len(peer.transport.writes)
            written.clear()
            await peer.say(client_frame(TEXT, b"count"))
            assert written == [before + 1] * 20
            assert len(peer.transport.writes) == before + 2
        assert [int(payload) for _, payload in peer.frames] == [*range(20)] * 2

    runner = (
        asyncio.Runner() if loop == "asyncio" else asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop)
    )
    with runner:
        runner.run(scenario())


@pytest.mark.parametrize(
    ("sent", "code", "told"),
    [
        (client_close(1000), 1000, {"code": 1000, "reason": ""}),
        (client_frame(CLOSE), None, {"code": 1005, "reason": ""}),
        (client_frame(0x83), 1002, {"code": 1002}),
        (client_frame(TEXT, b"\xff"), 1007, {"code": 1007}),
        (client_frame(BINARY, b"x" * 200), 1009, {"code": 1009, "reason": "message too big"}),
    ],
)
def test_the_end_takes_its_turn_behind_the_messages_before_it(sent: bytes, code: int | None, told: dict[str, Any]) -> None:
    async def scenario() -> None:
        diary = Diary()
        peer = Peer(diary, Settings(max_size=100))
        await peer.open()
        await peer.say(client_frame(TEXT, b"one") + client_frame(TEXT, b"two") + sent + client_frame(TEXT, b"never"))
        assert [frame[0] for frame in peer.frames] == [TEXT, TEXT, CLOSE]
        assert peer.frames[-1][1][:2] == (b"" if code is None else CODE[code])
        assert diary.end.items() >= told.items()
        assert peer.transport.closed

    play(scenario)


def test_an_application_that_dawdles_does_not_keep_the_closing_frame_for_ever() -> None:
    async def scenario() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await receive()
            await asyncio.Event().wait()

        peer = Peer(app)
        await peer.open()
        await peer.say(client_frame(TEXT, b"a") + client_close(1000))
        assert peer.frames == []
        peer.pass_seconds(3)
        await peer.settle()
        assert peer.frames == [(CLOSE, CODE[1000])]
        assert peer.transport.lost
        peer.service.cancel()

    play(scenario)


def test_an_application_that_does_not_listen_is_closed_at_once_and_told_when_it_sends() -> None:
    async def scenario() -> None:
        errors: list[BaseException] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            try:
                while True:
                    await send({"type": "websocket.send", "text": "tick"})
                    await asyncio.sleep(0)
            except OSError as error:
                errors.append(error)

        peer = Peer(app)
        await peer.feed(request())
        await peer.feed(client_close(1001))
        await peer.settle()
        assert peer.frames[-1] == (CLOSE, CODE[1001])
        assert isinstance(errors[0], ClientDisconnected)

    play(scenario)


def test_a_connection_that_breaks_is_1006() -> None:
    async def scenario() -> None:
        diary, other = Diary(), Diary()
        lost, half_closed = Peer(diary), Peer(other)
        await lost.open()
        lost.transport.lose(ConnectionResetError())
        await half_closed.open()
        await half_closed.half_close()
        await half_closed.settle()
        await lost.settle()
        assert diary.end == other.end == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert half_closed.transport.lost

    play(scenario)


def test_a_client_that_half_closes_behind_its_closing_frame_gets_its_answers() -> None:
    async def scenario() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await receive()
            await go.wait()
            await send({"type": "websocket.send", "text": "answer"})
            await receive()

        go = asyncio.Event()
        peer = Peer(app)
        await peer.open()
        await peer.say(client_frame(TEXT, b"question") + client_close(1000))
        await peer.half_close()
        go.set()
        await peer.settle()
        assert peer.frames == [(TEXT, b"answer"), (CLOSE, CODE[1000])]

    play(scenario)


# What the application may do.


def test_the_application_closes_and_the_clients_answer_is_awaited() -> None:
    async def scenario() -> None:
        after: list[Any] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await send({"type": "websocket.close", "code": 3001, "reason": "enough"})
            after.append(await receive())
            with pytest.raises(AppError, match="after the application closed"):
                await send({"type": "websocket.send", "text": "a"})

        peer = Peer(app)
        await peer.open(behind=client_frame(TEXT, b"unheard"))
        assert peer.frames == [(CLOSE, CODE[3001] + b"enough")]
        assert after == [{"type": "websocket.disconnect", "code": 3001, "reason": "enough"}]
        assert not peer.transport.closed
        await peer.say(client_frame(TEXT, b"too late"), client_frame(PING, b"?"), client_close(3001))
        assert peer.frames[1:] == [(PONG, b"?")]
        assert peer.transport.lost
        silent = Peer(app)
        await silent.open()
        silent.pass_seconds(12)
        await silent.settle()
        assert silent.transport.lost, "the answer is not awaited for ever"

    play(scenario)


@pytest.mark.parametrize("phases", [[Phase.STOPPING], [Phase.DRAINING, Phase.STOPPING]], ids=["stop", "reload, then stop"])
def test_a_prompt_stop_waits_for_a_closing_frame_no_longer_than_for_others(phases: list[Phase]) -> None:
    async def scenario() -> None:
        silent = Peer(echo)
        await silent.open()
        for phase in phases:
            silent.service.drain(phase)
        await silent.settle()
        assert silent.frames == [(CLOSE, CODE[1012])]
        silent.pass_seconds(silent.service.limits.linger_time)
        await silent.settle()
        assert not silent.transport.closed
        silent.pass_seconds(silent.service.limits.linger_time + 1.5)
        await silent.settle()
        assert silent.transport.lost

    play(scenario)


def test_accept_with_subprotocol_and_headers() -> None:
    async def scenario() -> None:
        headers = [(b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"connection", b"close"), (b"content-length", b"0")]
        peer = Peer(script(ACCEPT | {"subprotocol": "chat", "headers": headers}))
        await peer.open("Sec-WebSocket-Protocol: soap, chat")
        lines = peer.head.split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
        assert {b"sec-websocket-protocol: chat", b"Set-Cookie: a=1", b"set-cookie: b=2", b"upgrade: websocket"} <= {*lines}
        assert b"connection: upgrade" in lines
        assert b"connection: close" not in lines
        assert not any(line.startswith(b"content-length") for line in lines)
        assert any(line.startswith(b"date: ") for line in lines)
        assert peer.frames == [(CLOSE, CODE[1000])], "returning closes normally"

    play(scenario)


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([{"type": "websocket.send", "text": "a"}], "before 'websocket.accept'"),
        ([{"type": "http.response.start", "status": 200}], "before 'websocket.accept'"),
        ([ACCEPT | {"subprotocol": "unasked"}], "none of those that the client offers"),
        ([ACCEPT | {"headers": [(b"x", b"a\r\nb: c")]}], "response header"),
        ([], "without accepting or refusing"),
        ([{"type": "websocket.http.response.start", "status": 403}], "without accepting or refusing"),
        ([{"type": "websocket.http.response.start", "status": 42}, {"type": "websocket.http.response.body"}], "status"),
    ],
)
def test_an_application_that_fails_before_accepting_is_a_500(
    messages: list[dict[str, Any]], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        peer = Peer(script(*messages))
        await peer.open(path="/x")
        assert peer.status == 500
        assert peer.transport.closed
        assert peer.log == ['192.0.2.7:4711 - "WebSocket /x" 500']

    play(scenario)
    assert error in caplog.text


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([ACCEPT, ACCEPT], "after 'websocket.accept'"),
        ([ACCEPT, {"type": "websocket.send"}], "neither text nor bytes"),
        ([ACCEPT, {"type": "websocket.send", "text": "\ud800"}], "surrogates not allowed"),
        ([ACCEPT, {"type": "websocket.close", "code": 1006}], "can't close a WebSocket with code 1006"),
        ([ACCEPT, {"type": "websocket.close", "code": 70000}], "can't close a WebSocket with code 70000"),
    ],
)
def test_an_application_that_fails_later_closes_with_1011(
    messages: list[dict[str, Any]], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        peer = Peer(script(*messages))
        await peer.open()
        assert peer.frames == [(CLOSE, CODE[1011])]
        await peer.say(client_close(1011))
        assert peer.transport.lost

    play(scenario)
    assert error in caplog.text


def test_closing_before_accepting_is_a_403() -> None:
    async def scenario() -> None:
        peer = Peer(script({"type": "websocket.close"}))
        await peer.open(path="/x")
        assert peer.status == 403
        assert peer.log == ['192.0.2.7:4711 - "WebSocket /x" 403']

    play(scenario)


def test_denial_with_a_response_of_the_applications_own() -> None:
    async def scenario() -> None:
        start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]}
        body = {"type": "websocket.http.response.body"}
        whole = Peer(script(start, body | {"body": b"who are you?"}))
        await whole.open()
        head, _, rest = whole.output.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"www-authenticate: Basic" in head
        assert b"content-length: 12" in head
        assert b"connection: close" in head
        assert rest == b"who are you?"
        assert whole.transport.closed
        pieces = Peer(script(start, body | {"body": b"who ", "more_body": True}, body | {"body": b"?"}))
        await pieces.open()
        assert pieces.output.partition(b"\r\n\r\n")[2] == b"4\r\nwho \r\n1\r\n?\r\n0\r\n\r\n"
        broken = Peer(script(start, body | {"body": b"who ", "more_body": True}))
        await broken.open()
        assert broken.transport.lost
        assert not broken.output.endswith(b"0\r\n\r\n")

    play(scenario)


@pytest.mark.parametrize(
    ("raw", "status"),
    [(request(version="8"), 426), (request(method="PUT"), 405), (request("/", "Sec-WebSocket-Key: x"), 400)],
)
def test_wrong_handshakes_never_reach_the_application(raw: bytes, status: int) -> None:
    async def scenario() -> None:
        diary = Diary()
        peer = Peer(diary)
        await peer.feed(raw)
        await peer.settle()
        assert peer.status == status
        assert peer.transport.closed
        assert not diary.scope
        assert peer.log == [f'192.0.2.7:4711 - "WebSocket /" {status}']

    play(scenario)


# Compression.


@pytest.mark.parametrize("reader", ["auto", "wsproto", "websockets"])
def test_compressed_both_ways(reader: str) -> None:
    if reader == "websockets":
        pytest.importorskip("websockets")

    async def scenario() -> None:
        import zlib

        peer = Peer(echo, Settings(reader=reader_of(reader)))
        await peer.open("Sec-WebSocket-Extensions: permessage-deflate")
        assert b"sec-websocket-extensions: permessage-deflate; server_max_window_bits=12" in peer.head
        writer, client = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-12)
        for text in (b"hello " * 50, b"hello again " * 50):
            payload = (writer.compress(text) + writer.flush(zlib.Z_SYNC_FLUSH))[:-4]
            await peer.say(client_frame(0xC1, payload))
            first, payload = peer.frames[-1]
            assert first == 0xC1
            assert client.decompress(payload + b"\x00\x00\xff\xff") == text
        await peer.say(client_frame(TEXT, b"short"))
        assert peer.frames[-1] == (TEXT, b"short")

    play(scenario)


# Limits.


@pytest.mark.parametrize("reader", ["auto", "wsproto", "websockets"])
def test_reading_pauses_while_the_application_does_not_keep_up(reader: str) -> None:
    if reader == "websockets":
        pytest.importorskip("websockets")

    async def scenario() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await go.wait()
            while (message := await receive())["type"] == "websocket.receive":
                await send(message | {"type": "websocket.send"})

        go = asyncio.Event()
        peer = Peer(app, Settings(max_queue=4, reader=reader_of(reader)))
        await peer.open()
        # In one breath: what is above the bound has to stay unread bytes.
        await peer.say(b"".join(client_frame(TEXT, b"%d" % number) for number in range(10)))
        assert peer.transport.paused
        session = next(iter(peer.service.in_flight))
        assert len(session.inbox) == 4  # type: ignore[attr-defined]
        go.set()
        await peer.settle()
        assert not peer.transport.paused
        await peer.say(client_frame(TEXT, b"10"))
        assert [payload for _, payload in peer.frames] == [b"%d" % number for number in range(11)]
        big = Peer(app)
        go.clear()
        await big.open()
        await big.say(client_frame(BINARY, b"x" * 70_000) + client_frame(BINARY, b"y"))
        assert big.transport.paused
        go.set()
        await big.settle()
        assert [len(payload) for _, payload in big.frames] == [70_000, 1]

    play(scenario)


def test_sending_waits_for_a_slow_reader_and_pings_do_not_pile_up() -> None:
    async def scenario() -> None:
        sent: list[int] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await ready.wait()
            for number in range(100):
                await send({"type": "websocket.send", "bytes": b"x" * 30_000})
                sent.append(number)

        ready = asyncio.Event()
        peer = Peer(app)
        await peer.open()
        peer.transport.protocol.pause_writing()
        ready.set()
        await peer.say(*(client_frame(PING, b"%d" % number) for number in range(50)))
        assert sent == []
        peer.transport.protocol.resume_writing()
        await peer.settle()
        assert len(sent) == 100
        assert [payload for first, payload in peer.frames if first == PONG] == [b"49"], "only the last is answered"

    play(scenario)


def test_a_ping_that_waits_for_room_is_not_answered_behind_the_end() -> None:
    async def scenario() -> None:
        peer = Peer(echo)
        await peer.open()
        peer.transport.protocol.pause_writing()
        await peer.say(client_frame(PING, b"?") + client_frame(0x8B))
        assert peer.transport.eof_written
        peer.transport.protocol.resume_writing()
        await peer.settle()
        assert peer.transport.wrong == []

    play(scenario)


@pytest.mark.parametrize("reader", ["auto", "wsproto", "websockets"])
@pytest.mark.parametrize(
    "unit",
    [
        client_frame(PING),
        client_frame(PONG),
        client_frame(0x00, b"a"),
        client_frame(0x00),
        client_frame(PING) + client_frame(0x00),
    ],
)
def test_a_flood_of_small_frames_leaves_others_their_turn(reader: str, unit: bytes) -> None:
    async def scenario() -> None:
        peer = Peer(echo, Settings(reader=reader_of(reader)))
        await peer.open(behind=client_frame(0x01, b"a"))
        peer.transport.protocol.data_received(unit * 1000)
        turns = 0
        while peer.transport.paused:
            turns += 1
            await asyncio.sleep(0)
        assert 9 <= turns <= 25
        await peer.say(client_frame(0x80, b"z"), client_close(1000))
        assert peer.frames[-2][1].startswith(b"a")
        assert peer.frames[-2][1].endswith(b"z")
        assert peer.frames[-1] == (CLOSE, CODE[1000])

    play(scenario)


@pytest.mark.parametrize("reader", ["auto", "wsproto", "websockets"])
def test_an_application_that_finds_a_message_whenever_it_asks_leaves_others_their_turn(reader: str) -> None:
    async def scenario() -> None:
        peer = Peer(echo, Settings(reader=reader_of(reader), max_queue=20))
        await peer.open()
        peer.transport.protocol.data_received(client_frame(TEXT, b"a") * 1000)
        turns = 0
        while len(peer.frames) < 1000:
            turns += 1
            assert turns < 500
            await asyncio.sleep(0)
        assert turns >= 50

    play(scenario)


def test_the_end_behind_a_flood_is_still_read_to_its_end() -> None:
    """The hundredth event, at which others get their turn, is the closing frame itself."""

    async def scenario() -> None:
        for last in (client_close(1000), client_frame(0x8B)):
            for count in range(98, 103):
                peer = Peer(echo)
                await peer.open()
                await peer.say(client_frame(PONG) * count + last)
                assert peer.frames[-1][0] == CLOSE
                assert peer.transport.closed
                assert not peer.transport.paused

    play(scenario)


def test_one_waiting_sender_cancelled_is_not_all_cancelled() -> None:
    async def scenario() -> None:
        results: list[Any] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await ready.wait()
            tasks = [asyncio.create_task(send({"type": "websocket.send", "text": "a"})) for _ in range(2)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            results.extend(await asyncio.gather(*tasks, return_exceptions=True))

        ready = asyncio.Event()
        peer = Peer(app)
        await peer.open()
        peer.transport.protocol.pause_writing()
        ready.set()
        await peer.settle()
        peer.transport.protocol.resume_writing()
        await peer.settle()
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1] is None

    play(scenario)


def test_one_waiting_receiver_cancelled_loses_no_message() -> None:
    async def scenario() -> None:
        got: list[Any] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            first = asyncio.create_task(receive())
            second = asyncio.create_task(receive())
            await ready.wait()
            first.cancel()
            got.append(await second)

        ready = asyncio.Event()
        peer = Peer(app)
        await peer.open()
        # The message wakes the first, which is cancelled before it has run.
        ready.set()
        peer.transport.protocol.data_received(client_frame(TEXT, b"a"))
        await peer.settle()
        assert got == [{"type": "websocket.receive", "text": "a"}]

    play(scenario)


def test_pings_and_a_client_that_falls_silent() -> None:
    async def scenario() -> None:
        diary = Diary()
        peer = Peer(diary, Settings(ping_interval=20, ping_timeout=10))
        await peer.open()
        peer.pass_seconds(21)
        await peer.settle()
        assert [first for first, _ in peer.frames] == [PING]
        await peer.say(client_frame(PONG, peer.frames[0][1]))
        peer.pass_seconds(32)
        peer.pass_seconds(42)
        await peer.settle()
        assert [first for first, _ in peer.frames] == [PING, PING]
        peer.pass_seconds(53)
        await peer.settle()
        assert peer.frames[-1] == (CLOSE, CODE[1011] + b"keepalive ping timeout")
        assert peer.transport.lost
        assert diary.end == {"type": "websocket.disconnect", "code": 1006, "reason": "keepalive ping timeout"}

    play(scenario)


def test_no_pings_if_none_are_wanted_and_no_end_while_we_do_not_read() -> None:
    async def scenario() -> None:
        quiet = Peer(echo, Settings(ping_interval=0))
        await quiet.open()
        quiet.pass_seconds(10_000)
        await quiet.settle()
        assert quiet.frames == []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await asyncio.Event().wait()

        peer = Peer(app, Settings(max_queue=1, ping_interval=20, ping_timeout=10))
        await peer.open()
        await peer.say(client_frame(TEXT, b"a"))
        peer.pass_seconds(21)
        peer.pass_seconds(40)
        peer.pass_seconds(60)
        await peer.settle()
        assert not peer.transport.lost, "its pong may wait behind what we have not read"
        peer.service.cancel()

    play(scenario)


# The worker's drain.


def test_a_drain_closes_with_1012_and_waits_for_the_answer() -> None:
    async def scenario() -> None:
        diary = Diary()
        peer = Peer(diary)
        await peer.open()
        peer.service.drain(Phase.DRAINING)
        await peer.settle()
        assert peer.frames == [(CLOSE, CODE[1012])]
        assert diary.end == {"type": "websocket.disconnect", "code": 1012, "reason": ""}
        assert isinstance(diary.error, ClientDisconnected)
        assert not peer.transport.closed
        await peer.say(client_close(1012))
        assert peer.transport.lost
        assert not peer.service.connections

    play(scenario)


def test_a_silent_client_ends_with_the_grace() -> None:
    async def scenario() -> None:
        peer = Peer(echo)
        await peer.open()
        peer.service.drain(Phase.STOPPING)
        await peer.settle()
        assert not peer.transport.lost
        peer.service.cancel()
        await peer.settle()
        assert peer.transport.lost
        assert not peer.service.in_flight

    play(scenario)


def test_handshakes_in_a_drain_are_sent_elsewhere() -> None:
    async def scenario() -> None:
        diary = Diary()
        late = Peer(diary)
        late.service.drain(Phase.DRAINING)
        await late.open()
        assert late.status == 503
        assert not diary.scope
        undecided = Peer(script_forever := Waiting())
        await undecided.open()
        undecided.service.drain(Phase.DRAINING)
        await undecided.settle()
        assert undecided.status == 503
        assert undecided.transport.closed
        assert script_forever.received == {"type": "websocket.disconnect", "code": 1012, "reason": ""}

    play(scenario)


class Waiting:
    """Neither accepts nor refuses, but listens."""

    received: Any = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        self.received = await receive()


def test_a_handshake_that_talks_too_early_is_bounded() -> None:
    async def scenario() -> None:
        peer = Peer(Waiting(), limits=Limits())
        await peer.open()
        await peer.say(client_frame(BINARY, b"x" * 70_000))
        assert peer.transport.paused
        peer.transport.lose()
        await peer.settle()

    play(scenario)
