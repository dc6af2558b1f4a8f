"""From an application's response to bytes, written once for all codecs.

Everything an application can get wrong in a response head is found here, before anything is written.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from ..asgi import AppError
from .codec import TOKEN, RequestHead


class Framing(Enum):
    """How the client knows where the body ends (RFC 9112 section 6.3)."""

    EMPTY = auto()
    """No body on the wire, whatever the application sends: HEAD, 204, 304."""
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()
    """At the end of the connection: an HTTP/1.0 client and no Content-Length."""


class _Special(Enum):
    CONTENT_LENGTH = b"content-length"
    TRANSFER_ENCODING = b"transfer-encoding"
    CONNECTION = b"connection"
    DATE = b"date"
    SERVER = b"server"


_SPECIAL = {special.value: special for special in _Special}
_NAME = re.compile(TOKEN)
_CONTROLS = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
_KNOWN: dict[bytes, _Special | None] = {}
"""Names already found valid. Applications use a few dozen; bounded all the same."""
_KNOWN_LIMIT = 1024


@dataclass(slots=True)
class Defaults:
    """Header lines added to every response; the worker's tick renews ``date``."""

    server: bytes = b"server: tricorn\r\n"
    date: bytes = b""
    extra: bytes = b""
    block: bytes = field(init=False, default=b"")
    """All of them."""

    def __post_init__(self) -> None:
        self.block = self.server + self.date + self.extra

    def renew(self, date: bytes) -> None:
        """Put a new Date into the block: ``date`` is the field's value (RFC 9110 section 5.6.7)."""
        self.date = b"date: %b\r\n" % date
        self.block = self.server + self.date + self.extra

    def without(self, given: list[_Special]) -> bytes:
        """The block less what the application gave itself."""
        server = b"" if _Special.SERVER in given else self.server
        return server + (b"" if _Special.DATE in given else self.date) + self.extra


def reason(status: int) -> str:
    """The reason phrase, empty for statuses without a name."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


_STATUS_LINES = {status: f"HTTP/1.1 {status} {reason(status)}\r\n".encode("ascii") for status in range(200, 1000)}


@dataclass(slots=True)
class ResponseHead:
    """An encoded response head and what it promised."""

    data: bytes
    framing: Framing
    length: int
    """With LENGTH: the bytes the body must have."""
    keep_alive: bool


def encode(
    request: RequestHead,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    defaults: Defaults,
    *,
    whole: int | None,
    keep_alive: bool,
) -> ResponseHead:
    """Encode a response head.

    ``whole`` is the body's size in bytes when it is known to be complete already, else None; ``keep_alive`` is whether the
    server would keep the connection. Raises :class:`AppError` for what must not go on the wire.
    """
    line = _STATUS_LINES.get(status)
    if line is None:
        raise AppError(f"response status {status!r} is not a final HTTP status, 200 to 999")
    lines, given, length, keep_alive = _lines(headers, keep_alive and request.keep_alive)
    framing = Framing.LENGTH
    if status == 204:
        framing, length = Framing.EMPTY, None
    elif status == 304:
        framing = Framing.EMPTY
    elif request.method == "HEAD":
        # Empty because it answers HEAD or because the resource is empty? Only the application knows: say nothing then.
        framing, length = Framing.EMPTY, length if length is not None else whole or None
    elif length is None:
        if whole is not None:
            length = whole
        elif request.version == "1.1":
            framing = Framing.CHUNKED
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            framing = Framing.CLOSE
            keep_alive = False
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    elif request.version == "1.0":
        lines.append(b"connection: keep-alive\r\n")
    lines.append(b"\r\n")
    block = defaults.without(given) if given else defaults.block
    return ResponseHead(line + block + b"".join(lines), framing, length or 0, keep_alive)


def _lines(headers: Iterable[tuple[bytes, bytes]], keep_alive: bool) -> tuple[list[bytes], list[_Special], int | None, bool]:
    """The application's header lines, which defaults it gave itself, its Content-Length, whether the connection may persist."""
    lines: list[bytes] = []
    given: list[_Special] = []
    length: int | None = None
    for name, value in headers:
        special = _KNOWN[name] if name in _KNOWN else _learn(name)
        if special is _Special.CONTENT_LENGTH:
            length = _content_length(value, length)
            continue
        if special is _Special.CONNECTION:
            keep_alive = keep_alive and b"close" not in value.lower()
            continue
        if special is _Special.TRANSFER_ENCODING:
            if value.lower() != b"chunked":
                raise AppError(f"response header transfer-encoding: {value!r}: only the server applies transfer codings")
            continue
        if special is not None:
            given.append(special)
        lines.append(b"%b: %b\r\n" % (name, value))
    # One pass over all lines finds any control character: without them only each line's own CR and LF may be missing.
    block = b"".join(lines)
    if len(block.translate(None, _CONTROLS)) != len(block) - 2 * len(lines):
        raise AppError(f"control character in the response headers: {block!r}")
    return lines, given, length, keep_alive


def _learn(name: bytes) -> _Special | None:
    if not isinstance(name, bytes) or not _NAME.fullmatch(name):
        raise AppError(f"response header name {name!r} is not a token of bytes")
    if len(_KNOWN) >= _KNOWN_LIMIT:
        _KNOWN.clear()
    return _KNOWN.setdefault(name, _SPECIAL.get(name.lower()))


def _content_length(value: bytes, before: int | None) -> int:
    if not value.isdigit() or before not in (None, int(value)):
        raise AppError(f"response header content-length: {value!r} is not one number")
    return int(value)


def plain(status: int, text: str, defaults: Defaults, *, extra: bytes = b"", with_body: bool = True) -> bytes:
    """A whole response of the server's own, in plain text, that closes the connection."""
    body = text.encode("utf-8", "replace")
    return b"".join(
        (
            _STATUS_LINES[status],
            defaults.block,
            extra,
            b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body),
            body if with_body else b"",
        )
    )
