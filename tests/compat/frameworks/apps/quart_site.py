"""Quart: what ``starlette_site`` has."""

import asyncio

from quart import Quart, websocket

app = Quart(__name__)
wanted = asyncio.Event()


@app.before_serving
async def start():
    app.name_told = "quart"
    print("the site starts", flush=True)


@app.after_serving
async def stop():
    print("the site stops", flush=True)


@app.get("/")
async def index():
    return f"hello from {app.name_told}"


@app.get("/stream")
async def stream():
    async def lines():
        yield "one\n"
        await wanted.wait()
        yield "two\n"

    return lines(), {"Content-Type": "text/plain"}


@app.get("/more")
async def more():
    wanted.set()
    return ""


@app.websocket("/echo")
async def echo():
    while True:
        await websocket.send(await websocket.receive())
