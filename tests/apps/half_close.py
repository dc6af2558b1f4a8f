"""Starlette streams, which stop when told that their client has left. Some handlers are slow or block the event loop first."""

import asyncio
import time

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

TIME = 0.7
"""Seconds. More than ``departure.AT_ONCE``, the age from which on a request says that its client has left."""


async def parts():
    for number in range(3):
        await asyncio.sleep(0.01)
        yield b"part %d\n" % number


async def stream(request):
    return StreamingResponse(parts())


async def slow(request):
    await asyncio.sleep(TIME)
    return PlainTextResponse("slow")


async def block(request):
    print("blocks", flush=True)
    time.sleep(TIME)
    return StreamingResponse(parts())


app = Starlette(routes=[Route("/stream", stream), Route("/slow", slow), Route("/block", block)])
