"""From an application's response to bytes, written once for all codecs.

Everything an application can get wrong in a response head is found here, before anything is written.
"""

from __future__ import annotations

import http
import re
from collections.abc import Iterable
from enum import Enum, auto

from ...errors import AppError
from ..defaults import Defaults
from ..memory import remember
from ..request import RequestHead
from .codec import TOKEN


class Framing(Enum):
    """How the client knows where the body ends (RFC 9112 section 6.3)."""

    EMPTY = auto()
    """No body on the wire, whatever the application sends: HEAD, 204, 304."""
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()
    """At the end of the connection: an HTTP/1.0 client and no Content-Length."""


ResponseHead = tuple[bytes, Framing, int, bool]
"""The encoded head, how the body is framed, the bytes it must have (with LENGTH), and whether the connection persists."""

_NAME = re.compile(TOKEN)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
MEANINGFUL = frozenset((b"content-length", b"transfer-encoding", b"connection", b"date", b"server"))
"""Fields that mean something to the server."""
HARMLESS = frozenset(
    (
        *(b"accept-ch", b"accept-ranges", b"access-control-allow-credentials", b"access-control-allow-headers", b"allow"),
        *(b"access-control-allow-methods", b"access-control-allow-origin", b"access-control-expose-headers", b"alt-svc"),
        *(b"access-control-max-age", b"cache-control", b"content-encoding", b"content-language", b"content-type", b"vary"),
        *(b"cross-origin-embedder-policy", b"cross-origin-opener-policy", b"cross-origin-resource-policy", b"keep-alive"),
        *(b"origin-agent-cluster", b"permissions-policy", b"pragma", b"referrer-policy", b"strict-transport-security"),
        *(b"timing-allow-origin", b"x-accel-buffering", b"x-content-type-options", b"x-dns-prefetch-control"),
        *(b"x-download-options", b"x-frame-options", b"x-permitted-cross-domain-policies", b"x-powered-by", b"x-robots-tag"),
        *(b"x-ua-compatible", b"x-xss-protection"),
    )
)
"""Names of fields that tell of a kind of response, not of one client or one resource. All others are private: never remembered,
and on the wire behind these."""
_MAX_VALUE = 200
"""Bytes of a value that is remembered."""
_MAX_ENTRIES = 1024
"""Entries of each layer of memory; then all are forgotten, so that no application can fill the memory."""


class ResponseHeads:
    """What one worker's response heads have in common: the default lines, and what was encoded before.

    That is bounded, and has no private fields, so no secrets.
    All layers of memory together save 1 us or more of a plain response, whose head takes 0.3 us with them.
    """

    __slots__ = ("defaults", "encoded", "last", "lines", "recent", "status_lines", "tail")

    def __init__(self, defaults: Defaults) -> None:
        """``defaults``: the lines that go into every head."""
        self.defaults = defaults
        self.status_lines: dict[int, bytes] = {}
        """Those that were used, 800 at most. Saves 0.7 us where whole heads are not remembered."""
        self.lines: dict[tuple[bytes, bytes], bytes] = {}
        """Fields found valid, as lines. Saves 0.5 us for each field where whole heads are not remembered: for HTTP/1.0, which
        nginx speaks to us, and for HEAD."""
        self.encoded: dict[tuple[object, ...], tuple[bytes, Framing, int]] = {}
        """For a status, kind of body and fields (the key): the bytes before the default block, how the body is framed, and its
        size (-1: not in these bytes). Saves 0.4 us with one field and 0.9 us with five."""
        self.recent: dict[int | None, tuple[list[tuple[bytes, bytes]], int, bytes, ResponseHead, bytes]] = {}
        """For each size of a body: fields and status of the head used last, its end, the head, and the bytes before its end. To
        compare these takes 0.2 us, and to look up 0.7 us."""
        self.tail = self.last = b""
        defaults.follow(self._join)

    def _join(self) -> None:
        self.tail = self.defaults.block + b"\r\n"
        """The default lines and the end of the head."""
        self.last = b"connection: close\r\n" + self.tail
        """The same on a connection that does not persist."""


def reason(status: int) -> str:
    """The reason phrase, empty for statuses without a name."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _status_line(status: int, known: dict[int, bytes]) -> bytes:
    """Raises :class:`AppError` for what is no final status."""
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise AppError(f"response status {status!r} is not a final HTTP status, 200 to 999")
    line = known.get(status)
    if line is None:
        known[status] = line = f"HTTP/1.1 {status:d} {reason(status)}\r\n".encode("ascii")
    return line


def encode(
    request: RequestHead,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    heads: ResponseHeads,
    whole: int | None,
    keep_alive: bool,
) -> ResponseHead:
    """Encode a response head.

    ``whole`` is the body's size in bytes when it is known to be complete already, else None; ``keep_alive`` is whether the
    server would keep the connection. Raises :class:`AppError` for what must not go on the wire.
    """
    terms = request.terms
    keep_alive = keep_alive and terms.keep_alive
    if terms.version != "1.1" or request.method == "HEAD":
        return _encode(request, status, tuple(headers), heads, whole, keep_alive)
    tail = heads.tail if keep_alive else heads.last
    recent = heads.recent.get(whole)
    if recent is not None:
        its_fields, its_status, its_tail, known_head, before = recent
        if its_fields == headers and its_status == status:
            if its_tail is not tail:
                known_head = before + tail, known_head[1], known_head[2], keep_alive
                heads.recent[whole] = its_fields, status, tail, known_head, before
            return known_head
    fields = tuple(headers)  # ASGI asks for any iterable, and it is gone through twice.
    try:
        known = heads.encoded.get((status, whole is None, fields))
    except TypeError:
        # A field that is a list can't be looked up.
        return _encode(request, status, fields, heads, whole, keep_alive)
    private = b""
    if known is None:
        fields, private = _split(fields)
        key = (status, whole is None, fields)
        known = heads.encoded.get(key) if private else None
        if known is None:
            return _encode(request, status, fields, heads, whole, keep_alive, key, private)
    before, framing, size = known
    if size < 0:
        size = whole or 0
        before += b"content-length: %d\r\n" % size
    head = before + private + tail, framing, size, keep_alive
    if not private and type(headers) is list:
        remember(heads.recent, whole, (headers.copy(), status, tail, head, before), _MAX_ENTRIES)
    return head


def _split(fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    """The fields that may be remembered, and the lines of the others. Raises :class:`AppError` for what no line can be."""
    public: list[tuple[bytes, bytes]] = []
    lines: list[bytes] = []
    for field in fields:
        name, value = field
        lowered = name.lower() if type(name) is bytes else b""
        if lowered in MEANINGFUL or (lowered in HARMLESS and type(value) is bytes and len(value) <= _MAX_VALUE):
            public.append(field)
        else:
            lines.append(_check(name, value))
    return tuple(public), b"".join(lines)


def _encode(
    request: RequestHead,
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    heads: ResponseHeads,
    whole: int | None,
    keep_alive: bool,
    key: tuple[object, ...] | None = None,
    private: bytes = b"",
) -> ResponseHead:
    """What :func:`encode` does for a head that it does not know yet; remembers it under ``key``, but for ``private`` lines."""
    parts = [_status_line(status, heads.status_lines)]
    block = heads.defaults.block
    meaningful = _collect(headers, parts, heads)
    given = _content_length(meaningful)
    if len(meaningful) > 1 or (meaningful and given is None):
        key = None
        block = _apply(meaningful, parts, heads.defaults)
        keep_alive = keep_alive and not any(name == b"connection" for name, _ in meaningful)
    framing, size = _framing(request, status, given, whole)
    if framing is Framing.CHUNKED:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif framing is Framing.CLOSE:
        keep_alive = False
    if given is not None and size is not None:
        parts.append(b"content-length: %d\r\n" % size)
    if key is not None and framing is not Framing.EMPTY:
        known = b"".join(parts), framing, -1 if given is None and size is not None else size or 0
        remember(heads.encoded, key, known, _MAX_ENTRIES)
    if given is None and size is not None:
        parts.append(b"content-length: %d\r\n" % size)
    if not keep_alive:
        parts.append(b"connection: close\r\n")
    elif request.terms.version == "1.0":
        parts.append(b"connection: keep-alive\r\n")
    parts += private, block, b"\r\n"
    return b"".join(parts), framing, size or 0, keep_alive


def _collect(headers: Iterable[tuple[bytes, bytes]], parts: list[bytes], heads: ResponseHeads) -> list[tuple[bytes, bytes]]:
    """Append the checked lines of ``headers`` to ``parts``; returns the fields that mean something to the server instead."""
    meaningful: list[tuple[bytes, bytes]] = []
    for pair in headers:
        try:
            line = heads.lines.get(pair)
        except TypeError:
            # ASGI allows [name, value] as a list, too; a list can't be looked up.
            pair = _pair(pair)
            line = heads.lines.get(pair)
        if line is None:
            name, value = pair
            line = _check(name, value)
            lowered = name.lower()
            if lowered in MEANINGFUL:
                meaningful.append((lowered, value))
                continue
            if lowered in HARMLESS and len(value) <= _MAX_VALUE:
                remember(heads.lines, pair, line, _MAX_ENTRIES)
        parts.append(line)
    return meaningful


def encode_lines(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Fields as lines, in trailers or an interim response. Raises :class:`AppError` for what must not go on the wire."""
    lines = []
    for name, value in map(_pair, headers):
        line = _check(name, value)
        if name.lower() in MEANINGFUL:
            raise AppError(f"response header {name!r} has no meaning but in the head of a response")
        lines.append(line)
    return lines


def _pair(field: Iterable[bytes]) -> tuple[bytes, bytes]:
    name, value = field
    return name, value


def _check(name: bytes, value: bytes) -> bytes:
    """A field as a line; raises :class:`AppError` for what could be taken for something else on the wire."""
    if not isinstance(name, bytes) or not _NAME.fullmatch(name):
        raise AppError(f"response header name {name!r} is not a token of bytes")
    if not isinstance(value, bytes) or _CONTROL.search(value):
        raise AppError(f"response header {name!r}: value {value!r} is not bytes without control characters")
    return b"%b: %b\r\n" % (name, value)


def _content_length(fields: list[tuple[bytes, bytes]]) -> int | None:
    size: int | None = None
    for name, value in fields:
        if name == b"content-length":
            if not value.isdigit() or size not in (None, int(value)):
                raise AppError(f"response header content-length: {value!r} is not one number")
            size = int(value)
    return size


def _apply(fields: list[tuple[bytes, bytes]], parts: list[bytes], defaults: Defaults) -> bytes:
    """Let the application's own Date and Server replace ours; returns the default block that remains.

    Of the fields with meaning, only ``Connection: close`` is left in ``fields``: whether the connection persists otherwise, and
    how the body is coded for transfer, is the server's to say.
    """
    given: set[bytes] = set()
    for name, value in list(fields):
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            raise AppError(f"response header transfer-encoding: {value!r}: only the server applies transfer codings")
        if name == b"connection" and b"close" not in value.lower():
            fields.remove((name, value))
        if name in (b"date", b"server"):
            given.add(name)
            parts.append(b"%b: %b\r\n" % (name, value))
    return defaults.without(given)


def _framing(request: RequestHead, status: int, given: int | None, whole: int | None) -> tuple[Framing, int | None]:
    """How the body ends, and the Content-Length to send; ``given`` is the application's own."""
    if status == 204:
        return Framing.EMPTY, None
    if status == 205:
        return Framing.EMPTY, 0
    if status == 304:
        return Framing.EMPTY, given
    if request.method == "HEAD":
        # Empty because it answers HEAD, or because the resource is empty? Only the application can tell: no length then.
        return Framing.EMPTY, given if given is not None else whole or None
    if given is not None or whole is not None:
        return Framing.LENGTH, given if given is not None else whole
    return (Framing.CHUNKED if request.terms.version == "1.1" else Framing.CLOSE), None


def plain(status: int, text: str, heads: ResponseHeads, *, extra: bytes = b"", with_body: bool = True) -> bytes:
    """A whole response of the server's own, in plain text, that closes the connection."""
    body = text.encode("utf-8", "replace")
    return b"".join(
        (
            _status_line(status, heads.status_lines),
            heads.defaults.block,
            extra,
            b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body),
            body if with_body else b"",
        )
    )


def switching(lines: bytes, headers: Iterable[tuple[bytes, bytes]], heads: ResponseHeads) -> bytes:
    """A 101 response: ``lines`` are those of the protocol switched to, ``headers`` the application's, checked as any others.

    What says how a body is framed has no meaning here and is left away. Raises :class:`AppError`.
    """
    parts = [b"HTTP/1.1 101 Switching Protocols\r\n", heads.defaults.block]
    meaningful = _collect(headers, parts, heads)
    if meaningful:
        parts[1] = _apply(meaningful, parts, heads.defaults)
    return b"".join((*parts, lines, b"\r\n"))
