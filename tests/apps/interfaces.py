"""Applications of every interface, and one that shows in which context it is run."""

import asyncio
import os
from contextvars import ContextVar

lifespan_says = ContextVar("lifespan_says", default="nothing")


async def answer(send, text):
    body = text.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


class Asgi2:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        if self.scope["type"] != "http":
            raise NotImplementedError(self.scope["type"])
        await answer(send, f"asgi {self.scope['asgi']['version']}")


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"wsgi {environ['PATH_INFO']}".encode()]


def wsgi_headers(environ, start_response):
    """What CGI's names say of the request's headers."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{name}={value}\n".encode("latin-1") for name, value in sorted(environ.items()) if name.startswith("HTTP_")]


async def asgi_headers(scope, receive, send):
    """The request's headers; to a WebSocket in a message."""
    text = "".join(f"{name.decode()}={value.decode()}\n" for name, value in scope.get("headers", ()))
    if scope["type"] == "http":
        await answer(send, text)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})


async def environment(scope, receive, send):
    """The variables that the query names."""
    assert scope["type"] == "http"
    names = scope["query_string"].decode().split(",")
    await answer(send, " ".join(os.environ.get(name, "unset") for name in names))


async def context(scope, receive, send):
    """What the task that runs this request sees of its creator's context."""
    assert scope["type"] == "http"
    seen = lifespan_says.get()
    lifespan_says.set("another request was here")
    await answer(send, seen)


def make_loop():
    loop = asyncio.SelectorEventLoop()
    loop.set_debug(False)
    # A variable that is set here is seen by all that the loop runs.
    lifespan_says.set("the loop's maker was here")
    return loop


async def loop_name(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, f"{type(asyncio.get_running_loop()).__module__} {lifespan_says.get()}")


def make_app():
    return environment


not_an_app = "text"
