"""Answers what a context variable was before the request set it; each request sets it, before all else it does."""

import asyncio
import contextvars

seen = contextvars.ContextVar("seen", default="nothing")


async def child(receive):
    """A task of the application's own that reads the body, in a context of its own."""
    seen.set("set by a child")
    while (message := await receive()).get("more_body"):
        await asyncio.sleep(0)
    return message


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    before = seen.get()
    seen.set(f"set by {scope['path']}")
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return await send({"type": "websocket.send", "text": before})
    if scope["path"] == "/child":
        await asyncio.create_task(child(receive))
    elif scope["path"] == "/read":
        await asyncio.sleep(0.05)
        while (await receive()).get("more_body"):
            await asyncio.sleep(0)
    filler = b"x" * (2_000_000 if scope["path"] == "/long" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-before", before.encode())]})
    await send({"type": "http.response.body", "body": filler, "more_body": True})
    return await send({"type": "http.response.body", "body": filler})
