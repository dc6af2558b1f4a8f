"""An application whose answers take long, in several ways; the path says which."""

import asyncio
import os
import threading
import time

gone: list[str] = []


async def wait():
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        gone.append("cancelled")
        raise


async def in_a_task(scope):
    """As a middleware does: the handler is another task."""

    async def call_next():
        await inner(scope)

    async def inner(scope):
        await wait()

    await asyncio.create_task(call_next())


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await asyncio.sleep(1.5)
        await send({"type": "websocket.send", "text": message["text"]})
        await receive()
        return
    assert scope["type"] == "http"
    path = scope["path"]
    if path == "/never":
        await wait()
    if path == "/block":
        began, file = time.monotonic(), scope["query_string"].decode()
        while not os.path.exists(file) or time.monotonic() - began < 1:
            time.sleep(0.01)
        await wait()
    if path == "/task":
        await in_a_task(scope)
    if path == "/thread":
        await asyncio.to_thread(threading.Event().wait, 1.5)
    if path == "/stubborn":
        try:
            await wait()
        except asyncio.CancelledError:
            gone.append("stubborn")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if path.startswith(("/stream", "/exempt")):
        for number in range(8):
            await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
            await asyncio.sleep(0.25)
    await send({"type": "http.response.body", "body": " ".join(gone).encode()})
    if path == "/behind":
        # Not a part of the response.
        await asyncio.sleep(1.5)
        gone.append("behind")
