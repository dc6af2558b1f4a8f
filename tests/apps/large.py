"""Answers of SIZE bytes in every way an application can send them, for clients that read slowly or not at all."""

import os
import tempfile

SIZE = 6_000_000
BODY = b"\xff" * SIZE
PIECE = b"\xff" * 50_000
MESSAGE = b"\xff" * 60_000

_file = tempfile.NamedTemporaryFile(delete=False)  # noqa: SIM115  # it lives as long as the worker
_file.write(BODY)
_file.close()


async def whole(scope, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % SIZE)]})
    await send({"type": "http.response.body", "body": BODY})


async def pieces(scope, send):
    """Chunked, or up to the connection's end for HTTP/1.0."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(SIZE // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def file(scope, send):
    if "http.response.pathsend" not in scope["extensions"]:
        await whole(scope, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % SIZE)]})
    await send({"type": "http.response.pathsend", "path": _file.name})


async def little(scope, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def upload(receive, send):
    while (await receive()).get("more_body"):
        pass
    await little(None, send)


async def websocket(receive, send):
    """SIZE bytes in messages; then the application closes."""
    await receive()
    await send({"type": "websocket.accept"})
    for _ in range(SIZE // len(MESSAGE)):
        await send({"type": "websocket.send", "bytes": MESSAGE})
    await send({"type": "websocket.close"})


ROUTES = {"/whole": whole, "/pieces": pieces, "/file": file, "/little": little}


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    os.unlink(_file.name)
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["method"] == "PUT":
        await upload(receive, send)
    else:
        await ROUTES[scope["path"]](scope, send)
