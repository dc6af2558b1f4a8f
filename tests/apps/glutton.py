"""An application that keeps as much memory as it is asked to."""

import os
from urllib.parse import parse_qs

kept: list[bytes] = []


async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/eat":
        mib = int(parse_qs(scope["query_string"].decode())["mib"][0])
        kept.append(b"x" * (mib * 2**20))
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
