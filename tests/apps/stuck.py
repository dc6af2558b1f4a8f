"""Requests that do not end: ``/sleep`` blocks the event loop, ``/hold`` the interpreter, ``/wait`` waits; WebSockets wait, too.

``/thread`` starts a thread that sleeps.
"""

import asyncio
import threading
import time

SECONDS = 60


def hold():
    sum(range(10**15))


def block():
    time.sleep(SECONDS)


async def wait():
    await asyncio.sleep(SECONDS)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    if scope["path"] == "/sleep":
        block()
    elif scope["path"] == "/hold":
        hold()
    elif scope["path"] == "/wait":
        await wait()
    elif scope["path"] == "/thread":
        threading.Thread(target=block, name="a thread of ours", daemon=True).start()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\n"})
