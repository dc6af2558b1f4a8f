"""The ASGI application that every server is measured with.

It does next to nothing, so that what is measured is the server. Paths it does not know get the plain answer, so that a
benchmark may vary the path as it likes.
"""

import asyncio
import os
import time

TEXT = (b"content-type", b"text/plain; charset=utf-8")
HELLO = b"Hello, world!"
LARGE = b"x" * 100 * 1024
CHUNK = b"y" * 1024
CHUNKS = 20

hello_start = {"type": "http.response.start", "status": 200, "headers": [TEXT, (b"content-length", b"13")]}
hello_body = {"type": "http.response.body", "body": HELLO}
large_start = {"type": "http.response.start", "status": 200, "headers": [TEXT, (b"content-length", b"%d" % len(LARGE))]}
large_body = {"type": "http.response.body", "body": LARGE}
stream_start = {"type": "http.response.start", "status": 200, "headers": [TEXT]}
stream_body = {"type": "http.response.body", "body": CHUNK, "more_body": True}
stream_end = {"type": "http.response.body", "body": b""}


async def hello(scope, receive, send):
    await send(hello_start)
    await send(hello_body)


async def large(scope, receive, send):
    await send(large_start)
    await send(large_body)


async def stream(scope, receive, send):
    await send(stream_start)
    for _ in range(CHUNKS):
        await send(stream_body)
    await send(stream_end)


async def tokens(scope, receive, send):
    await send(stream_start)
    for _ in range(CHUNKS):
        await send(stream_body)
        await asyncio.sleep(0)
    await send(stream_end)


async def events(scope, receive, send):
    await send(stream_start)
    for _ in range(CHUNKS):
        await send(stream_body)
        await asyncio.sleep(0.005)
    await send(stream_end)


async def form(scope, receive, send):
    """Parsed by Starlette, which is imported only where this is measured."""
    from starlette.requests import Request

    async with Request(scope, receive).form() as found:
        await text(send, b"%d" % found["file"].size)


async def text(send, body):
    headers = [TEXT, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def kept(scope, receive, send):
    """As ``post``, with the whole body in memory, as most frameworks have it."""
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    await text(send, b"%d" % len(b"".join(pieces)))


async def post(scope, receive, send):
    """Counts the body's bytes, and drops them."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await text(send, b"%d" % size)


async def pid(scope, receive, send):
    await text(send, b"%d" % os.getpid())


async def slow(scope, receive, send):
    await asyncio.sleep(0.2)
    await hello(scope, receive, send)


async def websocket_echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


members = set()


async def websocket_broadcast(scope, receive, send):
    """What any of them sends goes to all, itself included."""
    await receive()
    await send({"type": "websocket.accept"})
    members.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            event = {"type": "websocket.send", "text": message["text"]}
            for member in list(members):
                await member(event)
    finally:
        members.discard(send)


def note_ready():
    """Append this worker's pid and the time (CLOCK_MONOTONIC, seconds, the same for all processes) for the harness to read."""
    path = os.environ.get("BENCH_READY_FILE")
    if path:
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {time.monotonic()}\n")


async def lifespan(receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            note_ready()
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


ROUTES = {
    "/large": large,
    "/stream": stream,
    "/tokens": tokens,
    "/events": events,
    "/post": post,
    "/kept": kept,
    "/form": form,
    "/pid": pid,
    "/slow": slow,
}
SOCKETS = {"/broadcast": websocket_broadcast}


async def app(scope, receive, send):
    kind = scope["type"]
    if kind == "http":
        await ROUTES.get(scope["path"], hello)(scope, receive, send)
    elif kind == "websocket":
        await SOCKETS.get(scope["path"], websocket_echo)(scope, receive, send)
    else:
        await lifespan(receive, send)
