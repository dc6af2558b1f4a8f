"""An application whose lifespan start-up takes for ever."""

import asyncio


async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    print("never_starts waits", flush=True)
    await asyncio.Event().wait()
