"""An application whose first request is slow, and that fails as the file $HOW says. It tells what it was asked before."""

import asyncio
import os
import sys
import time
from pathlib import Path

asked: list[str] = []


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    warm = dict(scope["headers"]).get(b"x-tricorn-warm") == b"1" and scope["client"] is None
    how = Path(os.environ["HOW"]).read_text() if "HOW" in os.environ else ""
    if warm and how == "raises":
        raise RuntimeError("cold")
    if warm and how == "exits":
        sys.exit(5)
    if warm and how == "returns":
        return
    if warm and how == "waits":
        await asyncio.sleep(3600)
    if warm and how == "streams":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            # It never waits: only send can let the event loop turn.
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
    if scope["path"] == "/first" and not asked:
        # As the first request of an application does that loads a model.
        time.sleep(0.5)
    asked.append(f"{scope['method']} {scope['path']}?{scope['query_string'].decode()} {'warm' if warm else 'client'}")
    status = 503 if warm and how == "503" else 404 if scope["path"] == "/missing" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    body = f"{os.getpid()}\n" + "\n".join(asked)
    await send({"type": "http.response.body", "body": body.encode()})
