"""What tests/compat/uvicorn/test_beside_uvicorn.py asks of uvicorn and Tricorn alike; the path says what."""

import asyncio
import json
import os
import sys
import time


def plain(value):
    """``value`` as JSON can hold it."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


async def reply(send, body, *headers):
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def scope_of(scope, send):
    await reply(send, json.dumps(plain(scope)).encode())


async def pid(scope, send):
    await reply(send, str(os.getpid()).encode())


async def fail(scope, send):
    raise ValueError("the application's own fault")


async def fail_between(scope, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ValueError("the application's own fault")


async def hold_the_body(scope, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    print("body held", flush=True)
    await asyncio.Event().wait()


async def stream(scope, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"one", b"two", b"three"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def send_on(scope, send):
    """Send for as many seconds as the query says, whether the client is there or not."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    end = time.monotonic() + float(scope["query_string"])
    while time.monotonic() < end:
        try:
            await send({"type": "http.response.body", "body": b"on", "more_body": True})
        except OSError:
            print("sending raised", flush=True)
            return
        await asyncio.sleep(0.05)
    print("sending did nothing", flush=True)


async def too_short(scope, send):
    await reply(send, b"three", (b"content-length", b"9"))


async def leave():
    sys.exit(2)


async def start_a_task_that_exits(scope, send):
    task = asyncio.create_task(leave())
    while not task.done():
        await asyncio.sleep(0)
    await pid(scope, send)


async def start_a_callback_that_exits(scope, send):
    asyncio.get_running_loop().call_soon(sys.exit, 2)
    await asyncio.sleep(0.05)
    await pid(scope, send)


async def two_then_block(scope, send):
    """Blocks the event loop behind two messages until the file in the query is there."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for data in (b"first", b"second"):
        await send({"type": "http.response.body", "body": data, "more_body": True})
    until = time.monotonic() + 20
    while not os.path.exists(scope["query_string"]) and time.monotonic() < until:
        time.sleep(0.01)
    await send({"type": "http.response.body", "body": b""})


async def answer_late(scope, send):
    await asyncio.sleep(0.3)
    await reply(send, b"late")


async def answer_very_late(send):
    await asyncio.sleep(4)
    await reply(send, b"late")


async def cancel_when_told(receive, answer):
    """As frameworks do: answer, unless the client leaves before."""

    async def listen():
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.create_task(answer), asyncio.create_task(listen())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def wait_for_ever(scope, send):
    print("waiting for ever", flush=True)
    await asyncio.Event().wait()


async def websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    if scope["path"] == "/fail":
        raise ValueError("the application's own fault")
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(plain(scope))})
    if scope["path"] == "/fail-later":
        raise ValueError("the application's own fault")
    await send({"type": "websocket.close", "code": 1000})


async def lifespan(scope, receive, send):
    await receive()
    scope["state"]["database"] = "open"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


ROUTES = {
    "/scope": scope_of,
    "/fail": fail,
    "/fail-between": fail_between,
    "/held": hold_the_body,
    "/stream": stream,
    "/late": answer_late,
    "/callback-exits": start_a_callback_that_exits,
    "/two-then-block": two_then_block,
    "/send-on": send_on,
    "/short": too_short,
    "/task-exits": start_a_task_that_exits,
    "/waits": wait_for_ever,
}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["path"] == "/listens":
        await cancel_when_told(receive, answer_very_late(send))
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        path = scope["path"].removeprefix(scope["root_path"])
        await ROUTES.get(path, pid)(scope, send)


def factory():
    return app


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Seen", environ.get("HTTP_REMOTE_USER", "nobody"))])
    return [b"wsgi"]
