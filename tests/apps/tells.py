"""Tells what it is told: its scope, as JSON, over HTTP and WebSocket; counts uploads and streams, too."""

import asyncio
import json
import os
from pathlib import Path

__file__ = str(Path(__file__).resolve())
SHOWN = ("type", "scheme", "client", "server", "path", "extensions")


def told(scope):
    return json.dumps({name: scope.get(name) for name in SHOWN} | {"pid": os.getpid()}).encode()


async def app(scope, receive, send):
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        raise NotImplementedError


async def http(scope, receive, send):
    path = scope["path"]
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"end\n"})
        return
    if path == "/slow":
        await asyncio.sleep(20)
    if path == "/big":
        body = b"x" * 8_000_000
    elif path == "/file":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": __file__})
        return
    else:
        total, more = 0, True
        while more:
            message = await receive()
            total += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = str(total).encode() if path == "/upload" else b"ok" if path == "/" else told(scope)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def websocket(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": told(scope).decode()})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or "", "bytes": None})
