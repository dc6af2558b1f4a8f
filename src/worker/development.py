"""With ``--reload``: around the application, what a developer gets in the browser.

- *A handler's exception* is shown to the developer: see error_view.py. Other clients get what they always get.
- *Pages wait for the next save* with a ``HEAD`` request that has the header ``x-tricorn-wait``. It is answered when this worker
  has to leave. Then the page asks for itself, and the new code answers. The application never sees such a request.
- With ``--reload-browser`` each HTML page that a browser shows gets a script that waits in this way.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..config.options import Config
from ..ipc.text import url_host
from ..logging import set_traceback
from ..logs.access import Access
from ..protocols.asgi import Application, Field, Message, Receive, Scope, Send
from ..protocols.context import Ended
from .developer import is_developer, is_waiting
from .loader import trimmed
from .modules import is_developers

logger = logging.getLogger("tricorn.error")

SETTLED = 0.1
"""Seconds from the application's start-up until the supervisor has logged that it serves."""
MAX_HELD = 65536
"""Bytes of an error response that are held back until it is known whether the application raises an exception."""
WAITER = (
    b"<script>(()=>{const wait=()=>fetch(location.href,{method:'HEAD',cache:'no-store',headers:{'x-tricorn-wait':'1'}})"
    b".then(()=>location.reload(),()=>setTimeout(wait,500));addEventListener('load',wait)})()</script>\n"
)
"""Appended to pages with ``--reload-browser``."""


def develop(
    app: Application, config: Config, listeners: Sequence[socket.socket] = ()
) -> tuple[Application, Callable[[], None]]:
    """The application with the above, and what to call when a file was saved. Logged tracebacks become short, too.

    The log says where FastAPI's documentation of the application is, on the first of the ``listeners``.
    """
    if config.log_level not in ("debug", "trace"):
        set_traceback(lambda error: trimmed(error, is_developers))
    scheme = "http" if config.ssl_certfile is None else "https"
    documentation = documentation_of(app, listeners, scheme, config.root_path)
    developed = Development(app, reloads_pages=bool(config.reload_browser), documentation=documentation)
    return developed, developed.waiting.release


def documentation_of(app: Any, listeners: Sequence[socket.socket], scheme: str, root_path: str) -> str:
    """The URL of the pages that FastAPI makes of an application; empty if it is none, or has none."""
    path = getattr(app, "docs_url", None)
    tcp = next((one for one in listeners if one.family in (socket.AF_INET, socket.AF_INET6)), None)
    is_fastapi = any(base.__module__.startswith("fastapi") for base in type(app).__mro__)
    if not isinstance(path, str) or not is_fastapi or tcp is None:
        return ""
    host, port = tcp.getsockname()[:2]
    return f"{scheme}://{url_host(host)}:{port}{root_path}{path}"


class WithoutWaiting:
    """The access log ``access`` without the requests of pages that wait."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.line = access.line
        self.flush = access.flush

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        if ended is None or not is_waiting(method, ended.request.headers):
            self._access(client, method, path, version, status, ended)


class Waiting:
    """Holds the requests of pages that wait for a save."""

    def __init__(self) -> None:
        self._released = asyncio.Event()

    def release(self) -> None:
        """A file was saved: answer the requests that wait, so that their pages ask again."""
        self._released.set()

    async def answer(self, receive: Receive, send: Send) -> None:
        """Answer when a file is saved, or the client has left."""
        left = asyncio.ensure_future(_left(receive))
        released = asyncio.ensure_future(self._released.wait())
        await asyncio.wait((left, released), return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        released.cancel()
        await send({"type": "http.response.start", "status": 204, "headers": [(b"cache-control", b"no-store")]})
        await send({"type": "http.response.body"})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Development:
    """The application ``app`` with the above."""

    def __init__(self, app: Application, *, reloads_pages: bool, documentation: str = "") -> None:
        self._app = app
        self._documentation = documentation
        self._reloads_pages = reloads_pages
        self.waiting = Waiting()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and self._documentation:
            await self._app(scope, receive, self._told(send))
        elif scope["type"] != "http" or not is_developer(scope):
            await self._app(scope, receive, send)
        elif is_waiting(scope["method"], scope["headers"]):
            await self.waiting.answer(receive, send)
        else:
            await self._show(scope, receive, send)

    def _told(self, send: Send) -> Send:
        """``send`` of the lifespan, which says where the documentation is a moment after the start-up."""

        async def send_and_tell(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                text = "Documentation of the API: %s"
                asyncio.get_running_loop().call_later(SETTLED, logger.info, text, self._documentation)

        return send_and_tell

    async def _show(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = {**scope}
        if self._reloads_pages and is_page(scope):
            # A compressed page could not be completed.
            scope["headers"] = [field for field in scope["headers"] if field[0] != b"accept-encoding"]
            send = Completed(send)
        held = Held(send)
        try:
            await self._app(scope, receive, held)
        except Exception as error:
            if held.is_started:
                raise
            # Late, because most requests raise nothing.
            from .error_view import of_exception

            fields, body = of_exception(error, request).answer(request)
            await send({"type": "http.response.start", "status": 500, "headers": fields})
            await send({"type": "http.response.body", "body": body})
            raise
        await held.flush()


class Held:
    """Passes messages on to ``send``, but holds a response of status 500 back.

    Frameworks answer so first, and then let the exception through: then the developer is shown the exception instead.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: list[Message] = []
        self.is_started = False
        """Whether something of the response was sent."""

    async def __call__(self, message: Message) -> None:
        is_first = message["type"] == "http.response.start" and message.get("status") == 500
        if not self.is_started and (self._messages or is_first):
            self._messages.append(message)
            if not message.get("more_body", False) and len(message.get("body", b"")) <= MAX_HELD:
                return
            await self.flush()
            return
        self.is_started = self.is_started or message["type"] == "http.response.start"
        await self._send(message)

    async def flush(self) -> None:
        """Send what was held back."""
        messages, self._messages = self._messages, []
        self.is_started = True
        for message in messages:
            await self._send(message)


class Completed:
    """Passes messages on to ``send``; a page gets the script that waits for the next save."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_page = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict[bytes, bytes]((bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ()))
            kind = headers.get(b"content-type", b"").lower()
            self._is_page = kind.startswith(b"text/html") and b"content-encoding" not in headers
            # What failed is shown by a page that waits by itself.
            self._is_page = self._is_page and b"'nonce-" not in headers.get(b"content-security-policy", b"")
            if self._is_page:
                message = {**message, "headers": list(_lengthened(message["headers"], len(WAITER)))}
        elif self._is_page and message["type"] == "http.response.body" and not message.get("more_body", False):
            message = {**message, "body": bytes(message.get("body", b"")) + WAITER}
        elif self._is_page and message["type"] == "http.response.pathsend":
            # The script comes behind the file.
            await self._send_file(message)
            return
        await self._send(message)

    async def _send_file(self, message: Message) -> None:
        with open(message["path"], "rb") as file:
            data = await asyncio.get_running_loop().run_in_executor(None, file.read)
        await self._send({"type": "http.response.body", "body": data + WAITER})


def _lengthened(headers: Iterable[Any], more: int) -> Iterable[Field]:
    for name, value in headers:
        is_length = bytes(name).lower() == b"content-length" and bytes(value).isdigit()
        yield (name, b"%d" % (int(value) + more)) if is_length else (name, value)


def is_page(scope: Scope) -> bool:
    """Whether a browser asks for a page to show in a tab of its own."""
    headers = dict(scope["headers"])
    is_document = headers.get(b"sec-fetch-dest", b"document") == b"document"
    return scope["method"] == "GET" and is_document and b"text/html" in headers.get(b"accept", b"")
