"""Fairness and the end: windows, priorities, slow clients, drains."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.h2_raw import BEGIN, outcome, read_frames, request, statuses
from support.h2_wire import H2Wire
from support.play import body, sends, start
from support.wire import Receive, Send, echo
from tricorn.protocols.context import Phase
from tricorn.protocols.exchange import Exchange
from tricorn.protocols.http2 import frames as f
from tricorn.protocols.http2.connection import FAREWELL, Http2Connection
from tricorn.protocols.http2.stream import Http2Stream
from tricorn.protocols.limits import Limits

LARGE = sends(start(), body(bytes(200_000)))


def run(play: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(play())  # type: ignore[arg-type]


def settings(**values: int) -> bytes:
    return f.PREFACE + f.settings({getattr(f, name): value for name, value in values.items()})


def lengths(wire: H2Wire, stream: int) -> list[int]:
    """Of the stream's DATA frames."""
    return [len(frame.payload) for frame in read_frames(wire.output) if frame.kind == f.DATA and frame.stream == stream]


def test_windows_are_kept_to_the_byte() -> None:
    """RFC 9113 section 6.9: the stream's, the connection's, and what SETTINGS do to both."""

    async def play() -> None:
        wire = H2Wire(LARGE, begin=False)
        await wire.feed(settings(INITIAL_WINDOW_SIZE=3) + request(1) + request(3))
        await wire.settle()
        assert (lengths(wire, 1), lengths(wire, 3)) == ([3], [3])
        await wire.feed(f.settings({f.INITIAL_WINDOW_SIZE: 1}))
        await wire.feed(f.window_update(1, 2), f.window_update(1, 5))
        await wire.settle()
        assert lengths(wire, 1) == [3, 5], "the window was negative"
        await wire.feed(f.window_update(1, 200_000))
        await wire.settle()
        assert sum(lengths(wire, 1)) + sum(lengths(wire, 3)) == 65535
        await wire.feed(f.window_update(0, 1000))
        await wire.settle()
        assert sum(lengths(wire, 1)) + sum(lengths(wire, 3)) == 66535

    run(play)


def test_equals_take_turns() -> None:
    async def play() -> None:
        wire = H2Wire(LARGE, begin=False)
        await wire.feed(
            settings(INITIAL_WINDOW_SIZE=1 << 20) + f.window_update(0, 1 << 20) + request(1) + request(3) + request(5)
        )
        await wire.settle()
        order = [frame.stream for frame in read_frames(wire.output) if frame.kind == f.DATA]
        assert order[:24] == [*[1] * 4, *[3] * 4, *[5] * 4] * 2

    run(play)


@pytest.mark.parametrize("how", ["header", "frame before", "frame behind"])
def test_urgent_first(how: str) -> None:
    async def play() -> None:
        wire = H2Wire(LARGE, begin=False)
        fields = [("priority", "u=1, i")] if how == "header" else []
        update = f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0\5u=0")
        await wire.feed(settings(INITIAL_WINDOW_SIZE=1 << 20) + update * (how == "frame before") + request(1) + request(3))
        await wire.settle()
        await wire.feed(request(5, *fields) + update * (how == "frame behind"))
        await wire.settle()
        before = len(wire.output)
        await wire.feed(f.window_update(0, 1 << 20))
        await wire.settle()
        order = [frame.stream for frame in read_frames(wire.output[before:]) if frame.kind == f.DATA]
        assert order[:12] == [5] * 12 or (how == "frame behind" and order[1:13] == [5] * 12), order

    run(play)


def test_priorities_of_streams_that_never_open_are_forgotten() -> None:
    """The client tells how urgent a hundred streams are, and more, of which it opens only the last."""

    async def play() -> None:
        wire = H2Wire(LARGE, begin=False)
        early = b"".join(
            f.frame(f.PRIORITY_UPDATE, 0, 0, stream.to_bytes(4, "big") + b"u=0") for stream in [*range(1, 301, 2), 303]
        )
        await wire.feed(settings(INITIAL_WINDOW_SIZE=1 << 20) + early + request(301) + request(303))
        await wire.settle()
        await wire.feed(f.window_update(0, 1 << 20))
        await wire.settle()
        order = [frame.stream for frame in read_frames(wire.output) if frame.kind == f.DATA and frame.payload]
        assert order.index(303) < len(order) - 1 - order[::-1].index(301)
        assert order[-1] == 301
        wire.transport.lose()
        await wire.settle()

    run(play)


def test_stalled_upload_stalls_nobody() -> None:
    """A body that its application never reads: others are answered, and no more than its window is held."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["path"] == "/stuck":
            await asyncio.get_running_loop().create_future()
        await echo(scope, receive, send)

    async def play() -> None:
        wire = H2Wire(app)
        stuck = wire.ask(method="POST", path="/stuck", end=False)
        await wire.exchange()
        while room := min(wire.client.local_flow_control_window(stuck), 16384):
            wire.client.send_data(stuck, bytes(room))
            await wire.exchange(2)
        (exchange,) = wire.service.in_flight
        assert exchange.buffered <= 64 * 1024  # type: ignore[attr-defined]
        for _ in range(5):
            others = [wire.ask(method="POST" if at % 2 else "GET", body=bytes(30_000) if at % 2 else None) for at in range(6)]
            await wire.exchange()
            assert [wire.answers[other].status for other in others] == [200] * 6
        wire.transport.lose()
        wire.service.cancel()
        await wire.settle()

    run(play)


@pytest.mark.parametrize(
    ("buffer", "window"), [(1024, 65535), (65536, 65536), (1 << 22, 1 << 22), (1 << 40, f.MAX_WINDOW // 2)]
)
def test_one_upload_may_use_its_whole_window(buffer: int, window: int) -> None:
    """The window of all streams is no smaller, and none is larger than the protocol allows."""

    async def play() -> None:
        wire = H2Wire(limits=Limits(buffer=buffer))
        await wire.exchange()
        stream = wire.ask(method="POST", end=False)
        assert wire.client.local_flow_control_window(stream) == window
        wire.transport.lose()
        await wire.settle()

    run(play)


def test_stalled_download_stalls_nobody_and_ends() -> None:
    async def play() -> None:
        wire = H2Wire(LARGE, begin=False, limits=Limits(send_time=5))
        await wire.feed(settings(INITIAL_WINDOW_SIZE=0) + request(1))
        await wire.feed(f.settings({f.INITIAL_WINDOW_SIZE: 10}) + f.window_update(1, 5))
        await wire.settle()
        assert sum(lengths(wire, 1)) == 15
        wire.pass_seconds(4)
        await wire.feed(f.window_update(1, 5))
        wire.pass_seconds(8)
        await wire.settle()
        assert outcome(wire) == []
        wire.pass_seconds(12)
        await wire.settle()
        assert outcome(wire) == [("stream", 1, f.CANCEL)]
        assert not wire.connection.streams

    run(play)


def test_sender_waits_for_the_window() -> None:
    """An application that sends without end is held back when as much waits as may, with a window or without."""
    sent = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        for _ in range(1000):
            await send(body(bytes(10_000), True))
            sent.append(1)
        await send(body())

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(settings(INITIAL_WINDOW_SIZE=0) + request(1))
        await wire.settle()
        assert len(sent) == 0
        await wire.feed(f.window_update(1, 100_000) + f.window_update(0, 100_000))
        await wire.settle()
        assert 9 <= len(sent) <= 12
        wire.transport.lose()
        await wire.settle()
        assert not wire.service.in_flight or len(sent) > 12

    run(play)


def test_what_is_answered_in_one_turn_is_one_write() -> None:
    async def play() -> None:
        wire = H2Wire(begin=False)
        await wire.feed(BEGIN)
        await wire.settle()
        before = len(wire.transport.writes)
        await wire.feed(b"".join(request(stream) for stream in range(1, 17, 2)))
        await wire.settle()
        assert len(statuses(wire)) == 8
        assert len(wire.transport.writes) == before + 1

    run(play)


def test_answer_to_a_lone_request_leaves_before_its_application_returns() -> None:
    """It may block the event loop behind what it has sent."""

    async def play() -> None:
        written = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await sends(start(), body(b"a"))(scope, receive, send)
            written.append(len(wire.transport.writes))

        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        await wire.settle()
        before = len(wire.transport.writes)
        for stream in (1, 3):
            # The second one is known already, and takes another way.
            wire.connection.data_received(request(stream))
            await wire.settle()
        assert written == [before + 1, before + 2]

    run(play)


def test_stream_that_is_sent_in_pieces_leaves_at_once() -> None:
    event = asyncio.Event

    async def play() -> None:
        more = event()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            await send(body(b"a", True))
            await more.wait()
            await send(body(b"b"))

        wire = H2Wire(app)
        wire.ask()
        await wire.exchange()
        assert wire.answers[1].body == b"a"
        more.set()
        await wire.exchange()
        assert (wire.answers[1].body, wire.answers[1].ended) == (b"ab", True)

    run(play)


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.STOPPING])
def test_drain(phase: Phase) -> None:
    """RFC 9113 section 6.8: GOAWAY twice; what the client sent before it has heard the first is answered."""

    async def play() -> None:
        go = asyncio.Event()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            if scope["path"] == "/wait":
                await go.wait()
            await echo(scope, receive, send)

        wire = H2Wire(app)
        wire.ask(path="/wait")
        await wire.exchange()
        wire.service.drain(phase)
        wire.ask()
        data = wire.client.data_to_send()
        await wire.settle()
        wire.listen()
        assert wire.goaways == [(f.MAX_STREAM_ID, f.NO_ERROR)]
        # The request was on its way; the answer to the PING comes behind it.
        await wire.feed(data)
        await wire.exchange()
        assert wire.answers[3].status == 200
        assert wire.goaways[1:] == [(3, f.NO_ERROR)]
        wire.ask()
        await wire.exchange()
        assert wire.answers[5].reset == f.REFUSED_STREAM
        assert not wire.transport.closed
        go.set()
        await wire.exchange()
        assert wire.answers[1].status == 200
        assert wire.transport.eof_written
        wire.pass_seconds(5)
        await wire.settle()
        assert wire.transport.closing
        assert not wire.service.connections

    run(play)


def test_drain_of_a_client_that_does_not_answer() -> None:
    async def play() -> None:
        wire = H2Wire(begin=False)
        await wire.feed(BEGIN + request(1))
        await wire.settle()
        wire.service.drain(Phase.STOPPING)
        await wire.settle()
        assert not wire.transport.closed
        wire.pass_seconds(3)
        await wire.settle()
        assert outcome(wire) == [("connection", f.MAX_STREAM_ID, 0), ("connection", 1, 0)]
        assert wire.transport.eof_written

    run(play)


def test_reload_waits_for_a_client_that_is_slow_to_hear_of_it() -> None:
    """What a proxy on a busy machine sends before it reads GOAWAY is answered for some seconds; on a stop for one."""

    async def play(phase: Phase) -> list[str]:
        wire = H2Wire(begin=False)
        await wire.feed(BEGIN + request(1))
        await wire.settle()
        wire.service.drain(phase)
        await wire.settle()
        wire.pass_seconds(3)
        if not wire.transport.eof_written:
            await wire.feed(request(3))
        await wire.settle()
        wire.pass_seconds(6)
        await wire.settle()
        assert wire.transport.eof_written
        return [*statuses(wire).values()]

    assert asyncio.run(play(Phase.DRAINING)) == ["200", "200"]
    assert asyncio.run(play(Phase.STOPPING)) == ["200"]


def test_reload_tells_a_client_that_has_not_asked_yet_behind_its_first_request() -> None:
    """HAProxy sends waiting requests on a new connection when it has our SETTINGS, and fails them if a GOAWAY comes with it."""

    async def play() -> None:
        wire = H2Wire(begin=False)
        await wire.feed(BEGIN)
        await wire.settle()
        wire.service.drain(Phase.DRAINING)
        await wire.settle()
        assert outcome(wire) == []
        await wire.feed(request(1))
        await wire.settle()
        assert outcome(wire) == [("connection", f.MAX_STREAM_ID, 0)]
        await wire.feed(f.frame(f.PING, f.ACK, 0, FAREWELL))
        await wire.settle()
        assert outcome(wire) == [("connection", f.MAX_STREAM_ID, 0), ("connection", 1, 0)]
        assert [*statuses(wire).values()] == ["200"]
        assert wire.transport.eof_written

    asyncio.run(play())


def test_reload_waits_some_seconds_for_the_first_request_and_a_stop_does_not() -> None:
    async def play(phase: Phase, seconds: float) -> list[tuple[str, int, int]]:
        wire = H2Wire(begin=False)
        await wire.feed(BEGIN)
        await wire.settle()
        wire.service.drain(phase)
        wire.pass_seconds(seconds)
        await wire.settle()
        return outcome(wire)

    assert asyncio.run(play(Phase.DRAINING, 4)) == []
    assert asyncio.run(play(Phase.DRAINING, 7)) == [("connection", 0, 0)]
    assert asyncio.run(play(Phase.STOPPING, 2)) == [("connection", f.MAX_STREAM_ID, 0), ("connection", 0, 0)]


def test_idle_connection_ends_politely() -> None:
    async def play() -> None:
        wire = H2Wire(limits=Limits(keep_alive_time=5))
        wire.ask()
        await wire.exchange()
        wire.pass_seconds(4)
        await wire.exchange()
        assert wire.goaways == []
        wire.pass_seconds(7)
        await wire.exchange()
        assert wire.goaways == [(f.MAX_STREAM_ID, 0), (1, 0)]
        assert wire.transport.eof_written

    run(play)


def test_client_that_says_nothing_is_closed() -> None:
    async def play() -> None:
        for sent in (b"", f.PREFACE[:10], BEGIN, BEGIN + request(1)[:12], BEGIN + f.frame(f.HEADERS, 1, 1, b"\x82")):
            wire = H2Wire(begin=False, limits=Limits(request_head_time=5))
            if sent:
                await wire.feed(sent)
            wire.pass_seconds(4)
            await wire.settle()
            assert not wire.transport.closed
            for seconds in (8, 12):
                wire.pass_seconds(seconds)
                await wire.settle()
            assert wire.transport.closed, sent

    run(play)


def test_header_block_that_is_never_complete() -> None:
    async def play() -> None:
        wire = H2Wire(begin=False, limits=Limits(request_head_time=5, keep_alive_time=100))
        await wire.feed(BEGIN + request(1))
        await wire.settle()
        await wire.feed(f.frame(f.HEADERS, 1, 3, b"\x82"))
        wire.pass_seconds(4)
        assert not wire.transport.closed
        wire.pass_seconds(8)
        await wire.settle()
        assert wire.transport.closed

    run(play)


def test_lost_connection_leaves_nothing() -> None:
    """No cycle of references keeps what it has held until garbage is collected."""

    def alive() -> list[int]:
        kinds = (Http2Connection, Http2Stream, Exchange)
        return [sum(type(one) is kind for one in gc.get_objects()) for kind in kinds]

    async def play() -> None:
        service = H2Wire().service
        gc.collect()
        before = alive()
        gc.disable()
        try:
            for how in ("lost", "fault", "drained"):
                wire = H2Wire(service=service)
                wire.ask(method="POST", body=b"abc")
                wire.ask(method="POST", end=how == "drained", body=b"abc")
                await wire.exchange()
                if how == "fault":
                    await wire.feed(bytes(9))
                elif how == "drained":
                    wire.connection.drain()
                    await wire.exchange()
                wire.transport.lose()
                await wire.settle()
                wire.transport.protocol = None
                del wire
                assert alive() == before, how
        finally:
            gc.enable()

    run(play)


def test_event_streams_part() -> None:
    """A worker that leaves ends event streams, so that their clients connect again; other responses are completed."""
    told = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send(start((b"content-type", b"text/event-stream" if scope["path"] == "/events" else b"text/plain")))
        await send(body(b"a", True))
        told.append((await receive())["type"])

    async def play() -> None:
        wire = H2Wire(app)
        events, other = wire.ask(path="/events"), wire.ask()
        await wire.exchange()
        assert wire.connection.lasts()
        wire.service.drain(Phase.DRAINING, part=False)
        await wire.exchange()
        assert wire.goaways == []
        wire.connection.part()
        await wire.exchange()
        assert (wire.answers[events].ended, wire.answers[other].ended) == (True, False)
        assert told == ["http.disconnect"]
        assert len(wire.goaways) == 2
        wire.transport.lose()
        await wire.settle()

    run(play)
