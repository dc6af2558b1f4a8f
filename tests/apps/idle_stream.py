"""Starlette streams that wait for their next event, and an application that sends without end and never listens."""

import asyncio

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

unfinished = 0
"""Generators and endless senders that have begun and not ended."""


async def events():
    global unfinished
    unfinished += 1
    try:
        yield b"data: hello\n\n"
        await asyncio.Event().wait()
    finally:
        unfinished -= 1


async def stream(request):
    return StreamingResponse(events(), media_type="text/event-stream")


async def slow(request):
    """Answers when its client has left, and then does something behind the answer."""
    print("slow begins", flush=True)
    await asyncio.sleep(float(request.query_params["seconds"]))
    return PlainTextResponse("slow", background=BackgroundTask(print, "background task done", flush=True))


async def tell(request):
    return PlainTextResponse(str(unfinished))


starlette = Starlette(routes=[Route("/stream", stream), Route("/slow", slow), Route("/unfinished", tell)])


async def app(scope, receive, send):
    global unfinished
    if scope["path"] != "/endless":
        return await starlette(scope, receive, send)
    unfinished += 1
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"data: again\n\n", "more_body": True})
    finally:
        unfinished -= 1
