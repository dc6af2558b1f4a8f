"""An application that keeps its event loop from turning, in several ways; the path says which."""

import asyncio
import re
import subprocess
import time


def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def backtrack(seconds):
    """Never lets the GIL go; the pattern takes twice as long for each character."""
    length, took = 16, 0.0
    while took < seconds:
        began = time.monotonic()
        re.match(r"(a+)+$", "a" * length + "b")
        took = time.monotonic() - began
        length += 1


async def in_a_task(seconds):
    scope = {"type": "http", "method": "GET", "path": "/task"}

    async def handler(scope):
        time.sleep(seconds)

    await asyncio.create_task(handler(scope))


async def blocks_in_the_background(seconds):
    time.sleep(seconds)


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        time.sleep(1.5)
        await send({"type": "websocket.close"})
        return
    assert scope["type"] == "http"
    name, seconds = scope["path"].strip("/"), float(scope["query_string"].decode() or 0)
    began = time.monotonic()
    match name:
        case "sleep":
            time.sleep(seconds)
        case "compute":
            compute(seconds)
        case "backtrack":
            backtrack(seconds)
        case "process":
            subprocess.run(["sleep", str(seconds)], check=True, capture_output=True)
        case "task":
            await in_a_task(seconds)
        case "background":
            await asyncio.create_task(blocks_in_the_background(seconds))
        case "fair":
            await asyncio.sleep(seconds)
    took = time.monotonic() - began
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{took:.3f}".encode()})
