"""``--access-log-format``: access log lines of the operator's own making, from gunicorn's atoms, or as JSON with all there is.

What the usual line leaves out (times, sizes, headers) is observed between the server and the application, so only those who ask
for it pay for it.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..config import ConfigError
from ..protocols.asgi import Application, Message, Receive, Scope, Send
from .access_log import JsonAccess, Writer
from .descriptor import Descriptor

JSON = "json"
_ATOM = re.compile(r"%\(([^)]*)\)s|%%")
_NAMED = re.compile(r"\{([^}]+)\}([ioe])")


class Response:
    """What is known of a request and its response when it is over."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.status = 0
        self.size = 0
        self.headers: Mapping[bytes, bytes] = {}
        self.began = time.time()
        self._start = time.perf_counter()
        self.seconds = 0.0

    def sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.lower(): value for name, value in message.get("headers", ())}
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))

    def end(self) -> None:
        self.seconds = time.perf_counter() - self._start

    @property
    def client(self) -> str:
        client = self.scope.get("client")
        return client[0] if client else "-"

    @property
    def query(self) -> str:
        text: str = self.scope["query_string"].decode("latin-1")
        return text

    @property
    def path(self) -> str:
        text: str = self.scope.get("raw_path", b"").decode("latin-1") or self.scope["path"]
        return text

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def request_header(self, name: str) -> str:
        wanted = name.lower().encode("latin-1", "replace")
        found: list[bytes] = [value for key, value in self.scope["headers"] if key == wanted]
        return found[-1].decode("latin-1") if found else "-"

    def response_header(self, name: str) -> str:
        return self.headers.get(name.lower().encode("latin-1", "replace"), b"-").decode("latin-1")


ATOMS: Mapping[str, Callable[[Response], object]] = {
    "h": lambda r: r.client,
    "l": lambda r: "-",
    "u": lambda r: "-",
    "t": lambda r: time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(r.began)),
    "r": lambda r: f"{r.scope['method']} {r.target} HTTP/{r.scope['http_version']}",
    "s": lambda r: r.status,
    "m": lambda r: r.scope["method"],
    "U": lambda r: r.path,
    "q": lambda r: r.query,
    "H": lambda r: f"HTTP/{r.scope['http_version']}",
    "b": lambda r: r.size or "-",
    "B": lambda r: r.size,
    "f": lambda r: r.request_header("referer"),
    "a": lambda r: r.request_header("user-agent"),
    "T": lambda r: int(r.seconds),
    "M": lambda r: int(r.seconds * 1e3),
    "D": lambda r: int(r.seconds * 1e6),
    "L": lambda r: f"{r.seconds:.6f}",
    "p": lambda r: f"<{os.getpid()}>",
}
"""As gunicorn's of these names: https://docs.gunicorn.org/en/stable/settings.html#access-log-format"""


def compile_format(text: str) -> Callable[[Response], str]:
    """What makes a line of a response. Raises ConfigError for an unknown atom."""
    parts: list[str | Callable[[Response], object]] = []
    end = 0
    for found in _ATOM.finditer(text):
        parts += [text[end : found.start()], "%" if found[1] is None else _atom(found[1], text)]
        end = found.end()
    parts.append(text[end:])
    return lambda response: "".join(part if isinstance(part, str) else _quote(part(response)) for part in parts)


def _atom(name: str, text: str) -> Callable[[Response], object]:
    if name in ATOMS:
        return ATOMS[name]
    if (named := _NAMED.fullmatch(name)) is None:
        raise ConfigError(f"--access-log-format {text}: there is no %({name})s")
    key = named[1]
    kinds: Mapping[str, Callable[[Response], object]] = {
        "i": lambda response: response.request_header(key),
        "o": lambda response: response.response_header(key),
        "e": lambda response: os.environ.get(key, "-"),
    }
    return kinds[named[2]]


def _quote(value: object) -> str:
    """What a client has sent must not end a line, or a quoted field in it."""
    text = str(value)
    return text if text.isprintable() and '"' not in text else text.encode("unicode_escape").decode().replace('"', '\\"')


class FormattedAccess(Writer):
    """The access log of ``--access-log-format text``: :meth:`observe` puts it around the application."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor, text: str) -> None:
        super().__init__(loop, descriptor)
        self._format = compile_format(text)

    def __call__(self, client: str, method: str, path: str, version: str, status: int) -> None:
        # All that reaches the application is observed there; this is what was refused before.
        if method == "-":
            scope = {"client": (client, 0), "method": "-", "path": "-", "query_string": b"", "http_version": version}
            response = Response({**scope, "headers": []})
            response.status = status
            self.write(self._format(response) + "\n")

    def line(self, text: str) -> None:
        self.write(f"{text}\n")

    def tell(self, response: Response) -> None:
        self.write(self._format(response) + "\n")

    def observe(self, app: Application) -> Application:
        return observe(app, self.tell)


class FullJsonAccess(JsonAccess):
    """The access log of ``--access-log-format json``."""

    def __call__(self, client: str, method: str, path: str, version: str, status: int) -> None:
        if method == "-":
            super().__call__(client, method, path, version, status)

    def tell(self, response: Response) -> None:
        self.object(
            client=response.client,
            method=response.scope["method"],
            path=response.path,
            query=response.query,
            version=response.scope["http_version"],
            status=response.status,
            size=response.size,
            seconds=round(response.seconds, 6),
            referer=response.request_header("referer"),
            user_agent=response.request_header("user-agent"),
            pid=os.getpid(),
        )

    def observe(self, app: Application) -> Application:
        return observe(app, self.tell)


def observe(app: Application, tell: Callable[[Response], None]) -> Application:
    """``app``, with ``tell`` called at the end of each HTTP request."""

    async def observed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        response = Response(scope)

        async def sending(message: Message) -> Any:
            response.sent(message)
            await send(message)

        try:
            await app(scope, receive, sending)
        except Exception:
            response.status = response.status or 500
            raise
        finally:
            response.end()
            tell(response)

    return observed


def make(text: str, loop: asyncio.AbstractEventLoop, descriptor: Descriptor) -> FormattedAccess | FullJsonAccess:
    """The access log of the given format."""
    return FullJsonAccess(loop, descriptor) if text == JSON else FormattedAccess(loop, descriptor, text)


def check(text: str) -> None:
    """Raises ConfigError for a format that can't be."""
    if text != JSON:
        compile_format(text)
