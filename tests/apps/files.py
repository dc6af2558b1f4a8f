"""Files, behind ordinary middleware and without any."""

from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Route


class Buffering:
    """Holds the start back until the first body message, as several published middlewares do."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = None

        async def wrapped(message):
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                if start:
                    await send(start)
                    start = None
                await send(message)

        await self.app(scope, receive, wrapped)


async def by_path(scope, receive, send):
    """The file that the path names behind its first slash, by ``http.response.pathsend``."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": unquote(scope["path"][1:])})


async def is_offered(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    offered = "http.response.pathsend" in scope["extensions"]
    await send({"type": "http.response.body", "body": str(offered).encode()})


async def this_file(request):
    return FileResponse(__file__)


buffered = Buffering(Starlette(routes=[Route("/", this_file)]))
gzipped = GZipMiddleware(Starlette(routes=[Route("/", this_file)]), minimum_size=10)
