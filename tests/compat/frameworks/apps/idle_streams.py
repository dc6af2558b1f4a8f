"""A stream that sends one event and waits for ever, in each framework: factories, named as the frameworks.

``/open`` tells how many requests the framework works on, and how many generators are not finished.
"""

from tests.apps import idle_stream
from tests.apps.idle_stream import events


def counting(make):
    return lambda: Counting(make())


class Counting:
    def __init__(self, app):
        self.app = app
        self.open = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] == "/open":
            body = f"{self.open} {idle_stream.unfinished}".encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return await send({"type": "http.response.body", "body": body})
        self.open += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.open -= 1


@counting
def starlette():
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def stream(request):
        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(routes=[Route("/", stream)])


@counting
def fastapi():
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.get("/")
    async def stream():
        return StreamingResponse(events(), media_type="text/event-stream")

    return app


@counting
def middleware():
    """Starlette's base class for middleware runs the application in a task of its own."""
    from starlette.middleware.base import BaseHTTPMiddleware

    async def pass_on(request, call_next):
        return await call_next(request)

    return BaseHTTPMiddleware(fastapi().app, dispatch=pass_on)


@counting
def sse_starlette():
    from sse_starlette import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def texts():
        async for event in events():
            yield {"data": event.decode()}

    async def stream(request):
        return EventSourceResponse(texts())

    return Starlette(routes=[Route("/", stream)])


@counting
def litestar():
    from litestar import Litestar, get
    from litestar.response import Stream

    @get("/")
    async def stream() -> Stream:
        return Stream(events(), media_type="text/event-stream")

    return Litestar([stream])


@counting
def quart():
    from quart import Quart

    app = Quart("idle")

    @app.get("/")
    async def stream():
        return events(), {"Content-Type": "text/event-stream"}

    # Quart bounds responses to a minute otherwise.
    app.config["RESPONSE_TIMEOUT"] = None
    return app


@counting
def django():
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import StreamingHttpResponse
    from django.urls import path

    async def stream(request):
        return StreamingHttpResponse(events(), content_type="text/event-stream")

    global urlpatterns
    urlpatterns = [path("", stream)]
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DEBUG=False)
    return get_asgi_application()


@counting
def mcp():
    """The SDK's event stream of a session, which it holds open for what the server may have to say."""
    from mcp.server.sse import SseServerTransport
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Mount, Route

    transport = SseServerTransport("/messages/")

    async def stream(request):
        async with transport.connect_sse(request.scope, request.receive, request._send) as (reader, _):
            async for _ in reader:
                pass
        return Response()

    return Starlette(routes=[Route("/", stream), Mount("/messages/", app=transport.handle_post_message)])
