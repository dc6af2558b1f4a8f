"""Floods end the connection with ENHANCE_YOUR_CALM, soon; what is no flood does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.h2_raw import BEGIN, block, data, outcome, request, statuses
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
