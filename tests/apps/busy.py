"""An application for load of every kind: short answers, uploads, streams, WebSockets. Each says which process answered."""

import asyncio
import os

PIECE = b"0123456789abcdef" * 256


async def answer(send, body):
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def upload(receive, send):
    """Count the body."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
        await asyncio.sleep(0.002)
    await answer(send, str(size).encode())


async def stream(send):
    """Twenty pieces over half a second, without a length."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(20):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await asyncio.sleep(0.025)
    await send({"type": "http.response.body", "body": b""})


async def talk(receive, send):
    """Echo."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await talk(receive, send)
    elif scope["path"] == "/upload":
        await upload(receive, send)
    elif scope["path"] == "/stream":
        await stream(send)
    elif scope["path"] == "/slow":
        await asyncio.sleep(0.2)
        await answer(send, str(os.getpid()).encode())
    else:
        await answer(send, str(os.getpid()).encode())
