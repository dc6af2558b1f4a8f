"""``--access-log-format``: access log lines of the operator's own making, from gunicorn's atoms, or as JSON with all there is.

What the usual line leaves out (times, sizes, headers) is looked up here, so only those who ask for it pay for it.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping

from ..errors import ConfigError
from ..ipc.descriptor import Descriptor
from ..protocols.context import Ended
from .access import JsonAccess, Writer

JSON = "json"
_ATOM = re.compile(r"%\(([^)]*)\)s|%%")
_NAMED = re.compile(r"\{([^}]+)\}([ioe])")


class Response:
    """What is known of a request and its response when it is over."""

    def __init__(self, ended: Ended, client: str, target: str, status: int) -> None:
        """``client``: its host and port; ``target``: as :meth:`Service.name_target` has it."""
        self.client = _host(client)
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.method = ended.request.method
        self.version = ended.request.terms.version
        self.request_headers = ended.request.headers
        self.status = status
        self.size = ended.sent
        self.headers = {name.lower(): value for name, value in ended.response_headers}
        now = time.perf_counter()
        self.seconds = (ended.ended or now) - ended.began
        self.began = time.time() - (now - ended.began)

    def request_header(self, name: str) -> str:
        wanted = name.lower().encode("latin-1", "replace")
        found: list[bytes] = [value for key, value in self.request_headers if key == wanted]
        return found[-1].decode("latin-1") if found else "-"

    def response_header(self, name: str) -> str:
        value: bytes = self.headers.get(name.lower().encode("latin-1", "replace"), b"-")
        return value.decode("latin-1")


def _host(client: str) -> str:
    """Of a host and a port; a client without an address, as on a UNIX socket, has neither."""
    return client.rpartition(":")[0] or "-"


ATOMS: Mapping[str, Callable[[Response], object]] = {
    "h": lambda r: r.client,
    "l": lambda r: "-",
    "u": lambda r: "-",
    "t": lambda r: time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(r.began)),
    "r": lambda r: f"{r.method} {r.target} HTTP/{r.version}",
    "s": lambda r: r.status,
    "m": lambda r: r.method,
    "U": lambda r: r.path,
    "q": lambda r: r.query,
    "H": lambda r: f"HTTP/{r.version}",
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
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode().replace('"', '\\"')


class Refused(Response):
    """What is known of a request that was refused before it had an exchange."""

    def __init__(self, client: str, version: str, status: int) -> None:
        self.method = self.target = self.path = "-"
        self.query = ""
        self.version = version
        self.client = _host(client)
        self.request_headers = ()
        self.status = status
        self.size = 0
        self.headers = {}
        self.seconds = 0.0
        self.began = time.time()


class FormattedAccess(Writer):
    """The access log of ``--access-log-format text``."""

    timed = True

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor, text: str) -> None:
        super().__init__(loop, descriptor)
        self._format = compile_format(text)

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        response = Refused(client, version, status) if ended is None else Response(ended, client, path, status)
        self.write(self._format(response) + "\n")

    def line(self, text: str) -> None:
        self.write(f"{text}\n")


class FullJsonAccess(JsonAccess):
    """The access log of ``--access-log-format json``."""

    timed = True

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        if ended is None:
            super().__call__(client, method, path, version, status, None)
            return
        response = Response(ended, client, path, status)
        self.object(
            client=response.client,
            method=method,
            path=response.path,
            query=response.query,
            version=version,
            status=status,
            size=response.size,
            seconds=round(response.seconds, 6),
            referer=response.request_header("referer"),
            user_agent=response.request_header("user-agent"),
            pid=os.getpid(),
        )


def make(text: str, loop: asyncio.AbstractEventLoop, descriptor: Descriptor) -> FormattedAccess | FullJsonAccess:
    """The access log of the given format."""
    return FullJsonAccess(loop, descriptor) if text == JSON else FormattedAccess(loop, descriptor, text)


def check(text: str) -> None:
    """Raises ConfigError for a format that can't be."""
    if text != JSON:
        compile_format(text)
