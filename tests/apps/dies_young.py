"""An application that dies 50 ms after its worker became ready."""

import asyncio
import os

print("one more start", flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        asyncio.get_running_loop().call_later(0.05, os._exit, 7)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
