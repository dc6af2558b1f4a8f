"""A response that lasts until the object behind SIGTERM's handler says should_exit, as sse-starlette's do."""

import asyncio
import os
import signal


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/events":
        await send({"type": "http.response.body", "body": b"begins", "more_body": True})
        while not getattr(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), "should_exit", False):
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b" ends"})
    else:
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
