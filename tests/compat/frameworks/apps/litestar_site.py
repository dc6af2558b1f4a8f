"""Litestar: what ``starlette_site`` has."""

import asyncio
import contextlib
from pathlib import Path

from litestar import Litestar, MediaType, get, websocket_listener
from litestar.response import Stream
from litestar.static_files import create_static_files_router

wanted = asyncio.Event()


@contextlib.asynccontextmanager
async def lifespan(app: Litestar):
    print("the site starts", flush=True)
    app.state.name = "litestar"
    yield
    print("the site stops", flush=True)


@get("/", media_type=MediaType.TEXT)
async def index() -> str:
    return f"hello from {app.state.name}"


@get("/stream")
async def stream() -> Stream:
    async def lines():
        yield "one\n"
        await wanted.wait()
        yield "two\n"

    return Stream(lines(), media_type=MediaType.TEXT)


@get("/more")
async def more() -> None:
    wanted.set()


@websocket_listener("/echo")
async def echo(data: str) -> str:
    return data


static = create_static_files_router(path="/static", directories=[Path(__file__).parent / "static"])
app = Litestar([index, stream, more, echo, static], lifespan=[lifespan])
