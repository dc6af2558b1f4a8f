"""Starlette: a route, a stream, a WebSocket, a static file, a lifespan.

What all sites here do: ``/stream`` sends its second line when somebody has asked for ``/more``, so whoever reads the first line
before that has seen a response that really streams; ``/echo`` is a WebSocket; ``/static/style.css`` a file.
"""

import asyncio
import contextlib
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

wanted = asyncio.Event()


@contextlib.asynccontextmanager
async def lifespan(app):
    print("the site starts", flush=True)
    yield {"name": "starlette"}
    print("the site stops", flush=True)


async def index(request):
    return PlainTextResponse(f"hello from {request.state.name}")


async def lines():
    yield "one\n"
    await wanted.wait()
    yield "two\n"


async def stream(request):
    return StreamingResponse(lines(), media_type="text/plain")


async def more(request):
    wanted.set()
    return PlainTextResponse("")


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", index),
        Route("/stream", stream),
        Route("/more", more),
        WebSocketRoute("/echo", echo),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ],
)
