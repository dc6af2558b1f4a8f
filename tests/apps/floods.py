"""Requests that nobody ends, and how many run: for clients that flood."""

import asyncio

running = begun = 0


async def app(scope, receive, send):
    global running, begun
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    if scope["path"] == "/count":
        text = b"%d %d" % (running, begun)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})
        return
    running += 1
    begun += 1
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        running -= 1
