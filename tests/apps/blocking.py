"""Sends events and keeps the event loop from turning between them, until the client has said that it has the last one.

The client says so by making a file: ``<folder>/<number>``, where the folder is the query string.
"""

import os
import time

EVENTS = 5


def block_until(path):
    deadline = time.monotonic() + 20
    # Longer than a pause, however quick the client is.
    time.sleep(0.002)
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path}: the event has not reached the client")
        time.sleep(0.002)


async def app(scope, receive, send):
    assert scope["type"] in ("http", "websocket")
    folder = scope["query_string"].decode()
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    else:
        headers = [(b"content-length", b"%d" % (8 * EVENTS))] if scope["path"] == "/length" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(EVENTS):
        if scope["type"] == "websocket":
            await send({"type": "websocket.send", "text": f"event {number}\n"})
        else:
            await send({"type": "http.response.body", "body": b"event %d\n" % number, "more_body": True})
        block_until(f"{folder}/{number}")
    if scope["type"] == "http":
        await send({"type": "http.response.body", "body": b""})
