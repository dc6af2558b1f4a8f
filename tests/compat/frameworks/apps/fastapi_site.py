"""FastAPI: what ``starlette_site`` has, as a user of FastAPI writes it."""

import asyncio
import contextlib
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

wanted = asyncio.Event()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI):
    print("the site starts", flush=True)
    yield {"name": "fastapi"}
    print("the site stops", flush=True)


app = FastAPI(lifespan=lifespan)
app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))


@app.get("/", response_class=PlainTextResponse)
async def index(request: Request) -> str:
    return f"hello from {request.state.name}"


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def lines():
        yield "one\n"
        await wanted.wait()
        yield "two\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/more")
async def more() -> None:
    wanted.set()


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())
