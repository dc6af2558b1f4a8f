"""Nothing of a connection outlives its end, and what waits in memory is counted as large as it is.

With the cyclic garbage collector switched off: what only it can free may stay for minutes, and large messages with it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import tracemalloc
import types
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.websocket_wire import Peer, client_close, client_frame, request
from support.wire import CODECS, Receive, Send
from tricorn import protocols
from tricorn.protocols.context import Phase, Service
from tricorn.protocols.facts import Opening
from tricorn.protocols.http1.connection import HttpConnection
from tricorn.protocols.http1.shared import Http1
from tricorn.protocols.limits import Limits
from tricorn.protocols.websocket.connection import upgrade
from tricorn.protocols.websocket.settings import Settings, reader_of

OURS = Path(protocols.__file__).parent
MODULES = ("tricorn.protocols.", "wsproto.", "websockets.", "h11.", "httptools.")
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n%b"
CHUNKED = b"Transfer-Encoding: chunked"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
EMOJI = "\N{GRINNING FACE}"
STORIES = [
    GET % b"/" * 3,
    POST % (b"Connection: close", b""),
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA\x00: b\r\n\r\n",
    b"GET / HT",
    POST % (b"Content-Length: 500000", b"x" * 100_000),
    POST % (CHUNKED, b"5\r\nabcde\r\n5\r\nab"),
    POST % (CHUNKED, b"5\r\nabcde\r\nzz\r\n"),
    POST % (CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n"),
    GET % b"/stream",
    GET % b"/wait",
    GET % b"/fail",
    request("/") + client_frame(0x81, b"hi") + client_close(1000),
    request("/") + client_frame(0x81, b"hi"),
    request("/") + client_frame(0x01, (EMOJI + "x" * 5000).encode()) + client_frame(0x00, b"abc"),
    request("/") + client_frame(0x81, b"x" * 100_000)[:5000],
    request("/") + client_frame(0x82, b"x" * 100_000)[:5],
    request("/", DEFLATE) + client_frame(0x81, b"hi") + client_frame(0x01, b"abc"),
    request("/") + client_frame(0x89, b"hi"),
    request("/") + client_frame(0x83, b"hi"),
    request("/") + client_frame(0x81, b"\xff"),
    request("/slow") + client_frame(0x81, b"hi") * 100,
    request("/refuse"),
    request("/deny"),
    request("/fail"),
    request("/").replace(b"Sec-WebSocket-Key", b"X"),
]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path == "/fail":
        raise ValueError("meant to be")
    if scope["type"] == "websocket":
        await receive()
        if path == "/refuse":
            await send({"type": "websocket.close"})
        elif path == "/deny":
            await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"x"})
        else:
            await send({"type": "websocket.accept"})
            while (await receive())["type"] == "websocket.receive":
                await asyncio.sleep(0.01 if path == "/slow" else 0)
                await send({"type": "websocket.send", "text": "ok"})
        return
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 5000, "more_body": True})
            await asyncio.sleep(0.001)
    while (message := await receive()).get("more_body") or (path == "/wait" and message["type"] != "http.disconnect"):
        pass
    if message["type"] != "http.disconnect":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})


def living() -> Counter[str]:
    """The objects of our protocols and of their parsers, and the coroutines and generators that run there; garbage, too.

    Terms are shared by all.
    """
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        if isinstance(one, (types.CoroutineType, types.GeneratorType)):
            code = one.cr_code if isinstance(one, types.CoroutineType) else one.gi_code
            if code.co_filename.startswith(str(OURS)) or "/websockets/" in code.co_filename:
                found[code.co_qualname] += 1
        elif f"{type(one).__module__}.".startswith(MODULES) and type(one).__name__ != "Terms":
            found[f"{type(one).__module__}.{type(one).__qualname__}"] += 1
    return found


async def vanish(port: int, data: bytes, context: ssl.SSLContext | None) -> None:
    """Send, read for a moment, and be gone without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(data)
    try:
        async with asyncio.timeout(0.3):
            while await reader.read(65536):
                pass
    except (TimeoutError, OSError):
        pass
    writer.transport.abort()


async def live(codec: str, ws: str, served: ssl.SSLContext | None, trusts: ssl.SSLContext | None) -> dict[str, int]:
    """All stories at once, twice: the second time ends in a drain. Returns what is left of them."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    service = Service(app, loop, limits=Limits(linger_time=0.1, request_head_time=1))  # type: ignore[arg-type]
    http1 = Http1(service, *CODECS[codec])
    service.websocket = upgrade(http1, Settings(reader=reader_of(ws)))
    server = await loop.create_server(lambda: Opening(partial(HttpConnection, http1)), "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    # What the first request and the first WebSocket bring with them for all others.
    await asyncio.gather(*(vanish(port, data, trusts) for data in (STORIES[0], STORIES[1], STORIES[14])))
    gc.collect()
    before = living()
    for drains in (False, True):
        stories = [asyncio.create_task(vanish(port, data, trusts)) for data in STORIES]
        await asyncio.sleep(0.1)
        if drains:
            service.drain(Phase.STOPPING)
        while any(not story.done() for story in stories) or service.connections or service.in_flight:
            await asyncio.sleep(0.05)
            service.tick()
    server.close()
    for _ in range(100):
        left = dict(living() - before)
        if not left:
            break
        await asyncio.sleep(0.05)
    return left


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*authority.issue())
    return served, authority.client()


@pytest.fixture
def no_collector() -> Iterator[None]:
    # What is logged of errors, which pytest keeps, would keep all that was going on.
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("tls", ["plain", "tls"])
@pytest.mark.parametrize(("codec", "ws"), [("auto", "auto"), ("h11", "wsproto"), ("httptools", "websockets")])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.usefixtures("no_collector")
def test_nothing_of_a_connection_outlives_it(
    loop: str, codec: str, ws: str, tls: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    make = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        left = runner.run(live(codec, ws, *(contexts if tls == "tls" else (None, None))))
    assert not left


@pytest.mark.parametrize("ws", ["auto", "wsproto", "websockets"])
def test_a_withheld_text_takes_no_more_than_its_bytes(ws: str) -> None:
    """As a ``str`` it would take four times as much."""
    reader = reader_of(ws)(1 << 24, None)
    piece = b"x" * 999_000 + EMOJI.encode()
    tracemalloc.start()
    try:
        for data in (client_frame(0x01, piece), *[client_frame(0x00, piece)] * 3):
            reader.feed(data)
            while reader.next() is not None:
                pass
        del data
        assert tracemalloc.get_traced_memory()[0] < 6_500_000
    finally:
        tracemalloc.stop()
    reader.feed(client_frame(0x80, b""))
    assert reader.next() == piece.decode() * 4


def test_a_text_that_waits_counts_as_large_as_it_is() -> None:
    async def deaf(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(3600)

    async def play() -> None:
        peer = Peer(deaf)
        await peer.open()
        text = EMOJI + "x" * 9_000
        for _ in range(5):
            if not peer.transport.paused:
                await peer.say(client_frame(0x81, text.encode()))
        # 36 KiB each, and there is room for 64.
        (session,) = peer.service.in_flight
        assert len(session.inbox) == 2  # type: ignore[attr-defined]
        peer.transport.lose()

    asyncio.run(play())
