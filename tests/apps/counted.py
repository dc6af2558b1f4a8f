"""Answers with the status that the query names; some paths take their time."""

from __future__ import annotations

import asyncio
import os
import time


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message.get("text")})
        return
    if scope["path"] == "/block":
        time.sleep(60)
    if scope["path"] == "/wait":
        await asyncio.sleep(0.2)
    status, body = int(scope["query_string"] or 200), b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
