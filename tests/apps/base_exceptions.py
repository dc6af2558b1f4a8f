"""Raises what is no Exception wherever an application's code can run. The path says where and what: /where/what."""

import asyncio
import os


class PanicException(BaseException):
    """As extensions written in Rust raise."""


def make(kind):
    return {
        "panic": PanicException("rust panicked"),
        "exit": SystemExit(2),
        "interrupt": KeyboardInterrupt(),
        "cancelled": asyncio.CancelledError(),
        "generator": GeneratorExit(),
        "group": BaseExceptionGroup("several", [PanicException("one"), SystemExit(3)]),
    }[kind]


def fail(kind):
    raise make(kind)


async def fail_later(kind):
    await asyncio.sleep(0)
    raise make(kind)


async def start(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def http(where, kind, send):
    if where == "handler":
        fail(kind)
    elif where == "partial":
        await start(send)
        await send({"type": "http.response.body", "body": b"partial", "more_body": True})
        # The head leaves before the response breaks off.
        await asyncio.sleep(0.01)
        fail(kind)
    elif where == "thread":
        await asyncio.get_running_loop().run_in_executor(None, fail, kind)
    elif where == "task":
        await asyncio.create_task(fail_later(kind))
    else:
        if where == "wait":
            print("waits", flush=True)
            while not os.path.exists(os.environ["MAY_ANSWER"]):
                await asyncio.sleep(0.01)
        await start(send)
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


async def websocket(kind, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    fail(kind)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        fail(os.environ.get("AT_SHUTDOWN", "panic"))
    where, _, kind = scope["path"][1:].partition("/")
    if scope["type"] == "websocket":
        await websocket(kind, receive, send)
    else:
        await http(where, kind, send)


async def fails_to_start(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    fail(os.environ["AT_STARTUP"])
