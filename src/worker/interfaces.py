"""Makes an ASGI 3 application of what the operator has: ASGI 2, WSGI, or an application that needs fresh contexts."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from ..config.options import Config
from ..errors import AppError
from ..protocols.asgi import Application, Field, Receive, Scope, Send
from . import message_log
from .loader import load


def make_app(config: Config) -> Application:
    """The application that ``config`` names, as ASGI 3. Raises AppError."""
    found = load(config.app, app_dir=config.app_dir, factory=config.factory)
    return complete(found, config, guess(found, config.app) if config.interface == "auto" else config.interface)


def complete(found: Any, config: Config, interface: str) -> Application:
    """The application ``found``, which speaks ``interface``, as ASGI 3, with what the options add to it."""
    adapted = adapt(found, interface)
    if not config.underscores_in_headers and interface != "wsgi":
        adapted = Filtered(adapted, drop_underscores)
    if config.request_id:
        # Late, because only an option asks for it.
        from .request_ids import RequestIds

        adapted = RequestIds(adapted)
    if message_log.is_wanted():
        adapted = message_log.MessageLog(adapted)
    return FreshContext(adapted) if config.reset_contextvars else adapted


def adapt(app: Any, interface: str) -> Application:
    """An ASGI 3 application that runs ``app``. ``interface`` is asgi3, asgi2 or wsgi."""
    if interface == "wsgi":
        from a2wsgi import WSGIMiddleware

        adapter: Any = WSGIMiddleware(app)
        app = Filtered(adapter, unambiguous)
    elif interface == "asgi2":
        app = Asgi2(app)
    return app  # type: ignore[no-any-return]


class Filtered:
    """Gives ``app`` only the request headers that ``keep`` returns."""

    def __init__(self, app: Application, keep: Callable[[list[Field]], list[Field]]) -> None:
        self._app = app
        self._keep = keep

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "lifespan":
            scope["headers"] = self._keep(scope["headers"])
        return self._app(scope, receive, send)


def drop_underscores(headers: list[Field]) -> list[Field]:
    """``headers`` without names that have an underscore, as nginx drops them by default.

    WSGI and some frameworks use CGI's names, with an underscore for each hyphen (RFC 3875 section 4.1.18). Then the header
    ``Remote_User`` of a client looks like ``Remote-User``, which a proxy sets and removes from what clients send.
    """
    return [field for field in headers if b"_" not in field[0]]


def unambiguous(headers: list[Field]) -> list[Field]:
    """``headers`` as WSGI can hold them, with one value for each name.

    The adapter joins values by commas. That is right for lists (RFC 9110 section 5.3), but cookies are joined by semicolons
    (RFC 9113 section 8.2.3), so it is done here. Fields that may come only once need nothing: the parser refuses a second one.
    """
    headers = drop_underscores(headers)
    cookies = [value for name, value in headers if name == b"cookie"]
    if len(cookies) < 2:
        return headers
    return [*(field for field in headers if field[0] != b"cookie"), (b"cookie", b"; ".join(cookies))]


def guess(app: Any, name: str) -> str:
    """``asgi3`` or ``asgi2``, by the number of arguments of ``app``. Raises AppError for a WSGI application."""
    try:
        signature = inspect.signature(app)
    except (ValueError, TypeError):
        # A compiled application: its arguments are not known.
        return "asgi3"
    if _takes(signature, 3):
        return "asgi3"
    if _takes(signature, 2):
        raise AppError(f"APP {name}: takes two arguments, as a WSGI application does; give --interface wsgi")
    return "asgi2" if _takes(signature, 1) else "asgi3"


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


class Asgi2:
    """An ASGI 2 application as ASGI 3: called with the scope, it returns a coroutine function of ``receive`` and ``send``."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["asgi"] = {**scope["asgi"], "version": "2.0"}
        await self._app(scope)(receive, send)


class FreshContext:
    """Runs each request in an empty context, without variables that the lifespan or another request has set."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def run() -> None:
            await self._app(scope, receive, send)

        # If this task is cancelled, so is the one that it awaits.
        await asyncio.get_running_loop().create_task(run(), context=Context())
