"""Floods end the connection with ENHANCE_YOUR_CALM, soon; what is no flood does not."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from support.h2_raw import BEGIN, block, data, outcome, read_frames, request, statuses
from support.h2_wire import H2Wire
from support.play import body, sends, start
from support.wire import Receive, Send
from tricorn.protocols.http2 import frames as f

POST = (("method", "POST"), ("scheme", "http"), ("path", "/"), ("authority", "a"))
ENTRY = b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Waits for the body's end, or for ever with ``/wait``."""
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    if scope["path"] == "/wait":
        await asyncio.get_running_loop().create_future()
    await sends(start(), body(bytes(100_000) if scope["path"] == "/large" else b"ok"))(scope, receive, send)


def each(make: Callable[[int], bytes], first: bytes = b"") -> Callable[[int], bytes]:
    """``first``, then what ``make`` gives for each number."""
    return lambda number: (first if number == 0 else b"") + make(number)


OPEN = request(1, end=False, pseudo=POST)
LARGE = request(1, pseudo=(("method", "GET"), ("scheme", "http"), ("path", "/large"), ("authority", "a")))
FLOODS: dict[str, Callable[[int], bytes]] = {
    "rapid reset": each(
        lambda number: (
            request(2 * number + 1, pseudo=(*POST[:2], ("path", "/wait"), POST[3])) + f.reset(2 * number + 1, f.CANCEL)
        ),
    ),
    "reset of uploads": each(lambda number: request(2 * number + 1, end=False) + f.reset(2 * number + 1, f.CANCEL)),
    "refused streams": each(
        lambda number: request(2 * number + 1, pseudo=(*POST[:2], ("path", "/wait"), POST[3])),
    ),
    "CONTINUATION": each(lambda number: f.frame(f.CONTINUATION, 0, 1, b"\x82"), f.frame(f.HEADERS, 1, 1, block())),
    "empty CONTINUATION": each(lambda number: f.frame(f.CONTINUATION, 0, 1, b""), f.frame(f.HEADERS, 1, 1, block())),
    "large CONTINUATION": each(lambda number: f.frame(f.CONTINUATION, 0, 1, bytes(16384)), f.frame(f.HEADERS, 1, 1, block())),
    "SETTINGS": each(lambda number: f.settings({})),
    "large SETTINGS": each(lambda number: f.settings({0x100 + at: 1 for at in range(2000)})),
    "acknowledgements": each(lambda number: f.SETTINGS_ACK),
    "PING": each(lambda number: f.frame(f.PING, 0, 0, bytes(8))),
    "PRIORITY": each(lambda number: f.frame(f.PRIORITY, 0, 2 * number + 1, bytes(5))),
    "PRIORITY_UPDATE": each(lambda number: f.frame(f.PRIORITY_UPDATE, 0, 0, (2 * number + 1).to_bytes(4, "big") + b"u=1")),
    "unknown frames": each(lambda number: f.frame(0xEE, 0, 0, b"")),
    "WINDOW_UPDATE": each(lambda number: f.window_update(0, 1)),
    "empty DATA": each(lambda number: data(1), OPEN),
    "padded empty DATA": each(lambda number: f.frame(f.DATA, f.PADDED, 1, b"\x05" + bytes(5)), OPEN),
    "tiny windows": each(
        lambda number: f.window_update(1, 1),
        f.settings({f.INITIAL_WINDOW_SIZE: 0}) + LARGE,
    ),
    "windows by SETTINGS": each(
        lambda number: f.settings({f.INITIAL_WINDOW_SIZE: number % 2}),
        f.settings({f.INITIAL_WINDOW_SIZE: 0}) + LARGE,
    ),
    "malformed requests": each(lambda number: request(2 * number + 1, ("A", "b"))),
    "requests too large": each(lambda number: request(2 * number + 1, ("a", "b" * 16380))),
    "header bomb": each(
        lambda number: f.headers(2 * number + 1, block(pseudo=POST) + (ENTRY if not number else b"\xbe" * 9000), True),
    ),
}
ENOUGH = 3000
"""Frames after which each of them must have ended; that is less than a burst and what a long test gives back."""


@pytest.mark.parametrize("name", FLOODS)
def test_flood_ends(name: str) -> None:
    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        began, ended = time.process_time(), 0
        for number in range(ENOUGH):
            wire.connection.data_received(FLOODS[name](number))
            if number % 10 == 0:
                await asyncio.sleep(0)
            if wire.transport.closed:
                ended = number
                break
        spent = time.process_time() - began
        await wire.settle()
        assert ended, "it never ends"
        assert outcome(wire)[-1][::2] == ("connection", f.ENHANCE_YOUR_CALM)
        assert spent < 3
        assert len(wire.output) < 2 * 1024 * 1024
        assert not wire.connection.streams
        # What is read then is thrown away, and not for long.
        for _ in range(10):
            wire.connection.data_received(bytes(16384))
        assert wire.transport.closing
        wire.transport.lose()
        wire.service.cancel()
        await wire.settle()
        assert not wire.service.in_flight

    asyncio.run(play())


UPLOAD = request(1, end=False, pseudo=(*POST[:2], ("path", "/take"), POST[3]))


async def taking(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answers how many bytes came."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await sends(start(), body(b"%d" % size))(scope, receive, send)


def test_many_small_frames_are_read_in_many_turns() -> None:
    """One read of 256 KiB may bring 26,000 frames: others have their turns in between, and nothing more is read meanwhile."""

    async def play() -> None:
        wire = H2Wire(taking, begin=False)
        await wire.feed(BEGIN + UPLOAD)
        turns = 0
        wire.connection.data_received(data(1, b"x") * 20_000 + data(1, end=True))
        while wire.transport.paused:
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 5
        await wire.settle()
        answer = [frame.payload for frame in read_frames(wire.output) if frame.kind == f.DATA]
        assert (outcome(wire), answer) == ([], [b"20000"])

    asyncio.run(play())


@pytest.mark.parametrize("how", ["lost", "goaway", "fault"])
def test_connection_ends_while_small_frames_wait(how: str) -> None:
    async def play() -> None:
        wire = H2Wire(taking, begin=False)
        await wire.feed(BEGIN + UPLOAD)
        wire.connection.data_received(data(1, b"x") * 5_000 + (f.frame(f.DATA, 0, 0, b"x") if how == "fault" else b""))
        assert wire.transport.paused
        if how == "lost":
            wire.transport.lose()
        elif how == "goaway":
            wire.connection.drain()
        await wire.settle()
        if how == "fault":
            assert outcome(wire) == [("connection", 1, f.PROTOCOL_ERROR)]
        elif how == "goaway":
            await wire.feed(data(1, end=True))
            await wire.settle()
            assert b"5000" in wire.output
        wire.transport.lose()
        await wire.settle()
        assert not wire.service.in_flight
        assert not wire.transport.wrong

    asyncio.run(play())


@pytest.mark.parametrize("size", [1, 2, 100, 1000])
def test_small_pieces_that_are_not_taken_take_little_memory(size: int) -> None:
    """Each piece costs some 50 bytes beside its own, and the promise is a window for each stream."""

    async def play() -> None:
        wire = H2Wire(waiting, begin=False)
        await wire.feed(BEGIN + UPLOAD)
        frames, count = data(1, b"x" * size), 65_000 // size
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for at in range(0, count, 50):
                wire.connection.data_received(frames * min(50, count - at))
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert held < 80_000
        wire.service.cancel()
        wire.transport.lose()
        await wire.settle()

    asyncio.run(play())


async def waiting(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Takes nothing."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("padding", [b"", b"pad"])
@pytest.mark.parametrize("trailers", [False, True])
def test_small_pieces_come_whole_and_in_order(padding: bytes, trailers: bool) -> None:
    """Also when the application takes them late, or one by one."""
    sent = [b"%d," % number for number in range(500)]

    async def play() -> None:
        found: list[bytes] = []
        ready = asyncio.Event()

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await ready.wait()
            while (message := await receive())["more_body"]:
                found.append(message["body"])
            found.append(message["body"])
            await sends(start(), body(b"ok"))(scope, receive, send)

        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN + UPLOAD)
        for number, piece in enumerate(sent):
            payload = bytes((len(padding),)) + piece + padding if padding else piece
            wire.connection.data_received(f.frame(f.DATA, f.PADDED if padding else 0, 1, payload))
            if number == 250:
                ready.set()
            if number > 250 and number % 7 == 0:
                await asyncio.sleep(0)
        wire.connection.data_received(f.headers(1, block(("a", "b"), pseudo=()), True) if trailers else data(1, end=True))
        await wire.settle()
        assert b"".join(found) == b"".join(sent)
        assert outcome(wire) == []

    asyncio.run(play())


def test_settings_that_change_many_windows_cost_more() -> None:
    """Each of them touches all open streams."""

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        wait = (*POST[:2], ("path", "/wait"), POST[3])
        await wire.feed(b"".join(request(stream, pseudo=wait) for stream in range(1, 201, 2)))
        wire.connection.data_received(b"".join(f.settings({f.INITIAL_WINDOW_SIZE: number}) for number in range(1000)))
        await wire.settle()
        assert outcome(wire) == [("connection", 199, f.ENHANCE_YOUR_CALM)]
        acknowledged = [frame for frame in read_frames(wire.output) if frame.kind == f.SETTINGS and frame.flags]
        assert len(acknowledged) < 100
        wire.service.cancel()
        wire.transport.lose()
        await wire.settle()

    asyncio.run(play())


def test_many_requests_are_no_flood() -> None:
    """A client that acknowledges, pings and sets windows as good ones do, for each of thousands of requests."""

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        for number in range(3000):
            stream = 2 * number + 1
            priority = f.frame(f.PRIORITY, 0, stream, bytes(5))
            wire.connection.data_received(request(stream) + priority + f.frame(f.PING, 0, 0, bytes(8)))
            await asyncio.sleep(0)
            wire.connection.data_received(f.window_update(0, 2) + f.window_update(stream, 2))
            if number % 500 == 0:
                await wire.settle()
        await wire.settle()
        assert outcome(wire) == []
        assert set(statuses(wire).values()) == {"200"}
        assert len(statuses(wire)) == 3000

    asyncio.run(play())


def test_page_that_is_left() -> None:
    """A browser takes back a hundred requests at once, and goes on."""

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        wait = (*POST[:2], ("path", "/wait"), POST[3])
        await wire.feed(b"".join(request(stream, pseudo=wait) for stream in range(1, 201, 2)))
        await wire.feed(b"".join(f.reset(stream, f.CANCEL) for stream in range(1, 201, 2)))
        await wire.feed(request(201))
        await wire.settle()
        # The applications run on and count: nobody may have any number of them running.
        assert outcome(wire) == [("stream", 201, f.REFUSED_STREAM)]
        wire.service.cancel()
        wire.transport.lose()
        await wire.settle()

    asyncio.run(play())


def test_many_requests_before_the_limit_is_known_are_no_flood() -> None:
    """Until it has read SETTINGS, a client may take the number of streams for unlimited."""

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        wait = (*POST[:2], ("path", "/wait"), POST[3])
        await wire.feed(BEGIN + b"".join(request(stream, pseudo=wait) for stream in range(1, 1001, 2)))
        await wire.settle()
        assert {scope for scope, _, _ in outcome(wire)} == {"stream"}
        assert len(outcome(wire)) == 400
        wire.service.cancel()
        wire.transport.lose()
        await wire.settle()

    asyncio.run(play())


def test_streams_above_the_limit_are_refused() -> None:
    """RFC 9113 section 5.1.2."""

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        wait = (*POST[:2], ("path", "/wait"), POST[3])
        await wire.feed(b"".join(request(stream, pseudo=wait) for stream in range(1, 205, 2)))
        await wire.settle()
        assert outcome(wire) == [("stream", 201, f.REFUSED_STREAM), ("stream", 203, f.REFUSED_STREAM)]
        wire.service.cancel()
        wire.transport.lose()
        await wire.settle()

    asyncio.run(play())


def test_request_that_is_taken_back_in_the_same_read_is_never_begun() -> None:
    """The rapid reset of CVE-2023-44487: the application has no work with it."""
    lines: list[tuple[Any, ...]] = []
    called: list[str] = []

    async def counting(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        called.append(scope["path"])
        await sends(start(), body(b"ok"))(scope, receive, send)

    async def play() -> None:
        wire = H2Wire(counting, begin=False, access=lambda *line: lines.append(line[:5]))
        await wire.feed(BEGIN + b"".join(request(stream) + f.reset(stream, f.CANCEL) for stream in range(1, 41, 2)))
        await wire.settle()
        assert called == []
        # They are told all the same.
        assert [line[4] for line in lines] == [499] * 20
        await wire.feed(request(41) + f.reset(41, f.CANCEL) + request(43))
        await wire.settle()
        assert called == ["/"]
        assert statuses(wire) == {43: "200"}
        assert outcome(wire) == []
        assert not wire.service.in_flight

    asyncio.run(play())


def test_flood_ends_what_it_has_begun() -> None:
    """Also tasks that have not begun to run when the flood ends."""

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        wait = (*POST[:2], ("path", "/wait"), POST[3])
        await wire.feed(b"".join(request(stream, pseudo=wait) for stream in range(1, 21, 2)))
        await wire.feed(b"".join(f.reset(stream, f.CANCEL) for stream in range(1, 11, 2)))
        # No turn between these two.
        wire.connection.data_received(b"".join(request(stream, pseudo=wait) for stream in range(21, 41, 2)))
        wire.connection.data_received(f.frame(f.CONTINUATION, 0, 1, b""))
        wire.transport.lose()
        await wire.settle()
        assert len(wire.service.in_flight) == 20, "a fault that is no flood leaves them alone"
        wire.service.cancel()
        await wire.settle()
        assert not wire.service.in_flight

        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        await wire.feed(b"".join(request(stream, pseudo=wait) for stream in range(1, 21, 2)))
        await wire.feed(b"".join(f.reset(stream, f.CANCEL) for stream in range(1, 11, 2)))
        wire.connection.data_received(b"".join(request(stream, pseudo=wait) for stream in range(21, 41, 2)))
        wire.connection.data_received(f.settings({}) * 200)
        while wire.transport.paused or not wire.transport.closed:
            wire.connection.data_received(f.settings({}) * 200)
            await asyncio.sleep(0)
        await wire.settle()
        assert outcome(wire)[-1] == ("connection", 39, f.ENHANCE_YOUR_CALM)
        assert not wire.service.in_flight

    asyncio.run(play())


@pytest.mark.parametrize("cost", ["PING", "huge heads", "new fields", "resets"])
def test_a_turn_brings_no_more_than_its_share(cost: str) -> None:
    """What is read in one turn of the loop, in frames; others have their turns in between, and no frame is lost."""
    names = [b"".join(b"\x00\x04%04x\x01a" % (at * 50 + field) for field in range(80)) for at in range(20)]
    frames, most = {
        "PING": ([f.frame(f.PING, 0, 0, bytes(8))] * 800, 200),
        "huge heads": ([f.headers(2 * at + 1, block() + b"\x90" * 1000, True) for at in range(8)], 1),
        "new fields": ([f.headers(2 * at + 1, block() + name, True) for at, name in enumerate(names)], 2),
        "resets": ([request(2 * at + 1) + f.reset(2 * at + 1, f.CANCEL) for at in range(150)], 80),
    }[cost]

    async def play() -> None:
        wire = H2Wire(app, begin=False)
        await wire.feed(BEGIN)
        wire.connection.data_received(b"".join(frames))
        turns = 1
        while wire.transport.paused:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= len(frames) / most
        await wire.settle()
        assert outcome(wire) == []
        found = {"PING": len([1 for frame in read_frames(wire.output) if frame.kind == f.PING]), "resets": len(frames)}
        assert found.get(cost, len(statuses(wire))) == len(frames)

    asyncio.run(play())
