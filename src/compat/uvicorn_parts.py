"""Names that programs import from uvicorn's modules and Tricorn itself does not use; ``uvicorn_names`` says where they are."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from ..config.options import OPTIONS
from ..embedding.config import Config
from ..embedding.launch import launch
from ..errors import AppError
from ..protocols.asgi import Application, Receive, Scope, Send
from ..protocols.proxy.headers import Proxies, Trusted
from ..worker.loader import locate
from ..worker.main import loop_factory

INTERFACES = list(OPTIONS["interface"].choices)
HTTP_PROTOCOLS, WS_PROTOCOLS, LIFESPAN, LOOP_FACTORIES = (
    {choice: choice for choice in OPTIONS[name].choices} for name in ("http", "ws", "lifespan", "loop")
)
"""For programs that offer the choices to their own users. ``Config`` takes each value."""


class ImportFromStringError(Exception):
    """Raised by :func:`import_from_string`. The text is one line, or the traceback of the imported module."""


def import_from_string(name: Any) -> Any:
    """The object that the text ``module:attribute`` names; other objects are returned as they are.

    Raises ImportFromStringError.
    """
    if not isinstance(name, str):
        return name
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ImportFromStringError(f'Import string "{name}" must be in format "<module>:<attribute>".')
    try:
        return locate(name, option="Import string")
    except AppError as error:
        raise ImportFromStringError(str(error)) from None


class ProxyHeadersMiddleware:
    """ASGI middleware that takes client and scheme from the headers of trusted proxies, as ``--proxy-headers`` does."""

    def __init__(self, app: Application, trusted_hosts: list[str] | str = "127.0.0.1") -> None:
        """``trusted_hosts`` is a value of ``--forwarded-allow-ips``, or a list of such values. Raises ValueError."""
        self.app = app
        self._proxies = Proxies(Trusted(trusted_hosts if isinstance(trusted_hosts, str) else ",".join(trusted_hosts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and self._proxies.trusts(scope.get("client"), scope.get("server")):
            told, _ = self._proxies.unveil({}, scope["headers"], "")
            if scope["type"] == "websocket" and "scheme" in told:
                told["scheme"] = told["scheme"].replace("http", "ws")
            scope = {**scope, **told}
        await self.app(scope, receive, send)


def get_client_addr(scope: Scope) -> str:
    """``host:port`` of the client; empty if it has no address, as on a UNIX socket."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def get_path_with_query_string(scope: Scope) -> str:
    """The quoted path with the query string."""
    path = quote(scope["path"])
    return f"{path}?{scope['query_string'].decode('ascii')}" if scope["query_string"] else path


class Multiprocess:
    """Serves ``config.app``, which must be MODULE:ATTRIBUTE, with supervisor and workers; on ``sockets`` if there are some.

    Uvicorn runs ``target`` in each worker. It is not called here, because Tricorn's workers run their own server.
    """

    def __init__(self, config: Config, target: Callable[..., Any] | None = None, sockets: Sequence[socket.socket] = ()) -> None:
        self.config = config
        self._sockets = sockets

    def run(self) -> None:
        """Serve until told to stop. Raises SystemExit with an exit code other than 0, and ConfigError."""
        # Copies, because launch closes them and the caller keeps its own.
        given = tuple(f"fd://{os.dup(one.fileno())}" for one in self._sockets)
        if code := launch(self.config, given):
            raise SystemExit(code)


def auto_loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes uvloop's loop if it is installed, otherwise asyncio's."""
    return loop_factory("auto")


def asyncio_loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes asyncio's loop."""
    return loop_factory("asyncio")


def uvloop_loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes uvloop's loop."""
    return loop_factory("uvloop")
