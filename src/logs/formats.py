"""``--access-log-format``: access log lines in a format of the operator's, from gunicorn's atoms, or as JSON with all fields.

The usual line leaves out times, sizes and headers. They are looked up here, so only operators who ask for them pay for them.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError
from ..ipc.descriptor import Descriptor
from ..protocols.context import Ended
from .access import JsonAccess, LineWriter, host_of

JSON = "json"
_ATOM = re.compile(r"%\(([^)]*)\)s|%%")
_NAMED = re.compile(r"\{([^}]+)\}([ioe])")


class Record:
    """What is known about a request and its response at the end."""

    def __init__(self, ended: Ended, client: str, target: str, status: int) -> None:
        """``client`` is its host and port; ``target`` is as :meth:`Service.name_target` returns it."""
        self.client = host_of(client)
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.method = ended.request.method
        self.version = ended.request.terms.version
        self.request_headers = ended.request.headers
        self.status = status
        self.size = ended.sent
        self.headers = {name.lower(): value for name, value in ended.response_headers}
        self.seconds = ended.seconds
        self.began = time.time() - (time.monotonic() - ended.since)

    def request_header(self, name: str) -> str:
        """The last value of a request header; ``-`` if there is none."""
        wanted = name.lower().encode("latin-1", "replace")
        found: list[bytes] = [value for key, value in self.request_headers if key == wanted]
        return found[-1].decode("latin-1") if found else "-"

    def response_header(self, name: str) -> str:
        """The last value of a response header; ``-`` if there is none."""
        value: bytes = self.headers.get(name.lower().encode("latin-1", "replace"), b"-")
        return value.decode("latin-1")


ATOMS: Mapping[str, Callable[[Record], object]] = {
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
"""By name; they mean what gunicorn's mean: https://docs.gunicorn.org/en/stable/settings.html#access-log-format"""


def compile_format(text: str) -> Callable[[Record], str]:
    """The function that makes a line of a record. Raises ConfigError for an unknown atom."""
    parts: list[str | Callable[[Record], object]] = []
    end = 0
    for found in _ATOM.finditer(text):
        parts += [text[end : found.start()], "%" if found[1] is None else _atom(found[1], text)]
        end = found.end()
    parts.append(text[end:])
    return lambda record: "".join(part if isinstance(part, str) else _quote(part(record)) for part in parts)


def _atom(name: str, text: str) -> Callable[[Record], object]:
    if name in ATOMS:
        return ATOMS[name]
    if (named := _NAMED.fullmatch(name)) is None:
        raise ConfigError(f"--access-log-format {text}: there is no %({name})s")
    key = named[1]
    kinds: Mapping[str, Callable[[Record], object]] = {
        "i": lambda record: record.request_header(key),
        "o": lambda record: record.response_header(key),
        "e": lambda record: os.environ.get(key, "-"),
    }
    return kinds[named[2]]


def _quote(value: object) -> str:
    """``value`` as text that ends neither a line nor a quoted field of it, whatever a client has sent."""
    text = str(value)
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode().replace('"', '\\"')


class RefusedRecord(Record):
    """The same for a request that was refused before its exchange began: nearly nothing is known."""

    def __init__(self, client: str, version: str, status: int) -> None:
        self.method = self.target = self.path = "-"
        self.query = ""
        self.version = version
        self.client = host_of(client)
        self.request_headers = ()
        self.status = status
        self.size = 0
        self.headers = {}
        self.seconds = 0.0
        self.began = time.time()


class FormattedAccess(LineWriter):
    """The access log of ``--access-log-format text``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor, text: str) -> None:
        super().__init__(loop, descriptor)
        self._format = compile_format(text)

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        record = RefusedRecord(client, version, status) if ended is None else Record(ended, client, path, status)
        self.write(self._format(record) + "\n")

    def line(self, text: str) -> None:
        """See :class:`Access`."""
        self.write(f"{text}\n")


class FullJsonAccess(JsonAccess):
    """The access log of ``--access-log-format json``: with the headers that tell who asks."""

    def further(self, ended: Ended) -> dict[str, Any]:
        """See :class:`JsonAccess`."""
        record = Record(ended, "", ended.request.target.decode("ascii"), ended.status)
        return {"referer": record.request_header("referer"), "user_agent": record.request_header("user-agent")}


def make(text: str, loop: asyncio.AbstractEventLoop, descriptor: Descriptor) -> FormattedAccess | FullJsonAccess:
    """The access log of the format ``text``."""
    return FullJsonAccess(loop, descriptor) if text == JSON else FormattedAccess(loop, descriptor, text)


def check(text: str) -> None:
    """Raises ConfigError for a format that can't be used."""
    if text != JSON:
        compile_format(text)
