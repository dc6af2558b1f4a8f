"""The fast lane: plain, well-formed requests, parsed in a few microseconds; of anything else it says "not mine".

It must never accept what the reference (h11 behind grammar.py's strict rules) refuses or reads differently; declining is
always right. So its grammar is a strict subset: a method everybody knows, a target in origin-form, HTTP/1.1, exact CRLFs, one
Host, at most one Content-Length and Content-Type, and no field that changes framing or the connection's meaning but
``Connection: keep-alive`` or ``close``.

A client sends the same header lines with every request, but for its cookies and credentials: so what was found valid once is
remembered and looked up, not parsed. That goes for whole heads, for header blocks (less one secret) and for single lines. What
is secret (cookies, credentials, queries) or long is parsed each time, and kept in no memory that connections share.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..asgi import Field, Fields
from ..memory import remember
from ..proxy.headers import FIELDS as PROXY_FIELDS
from ..request import PLAIN, RequestHead, Terms, decode_path
from .codec import TOKEN, is_host

_METHODS = {name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
_CONTROLS = frozenset((*range(0x09), *range(0x0A, 0x20), 0x7F))
_UNCONTROLLED = bytes(0xFF - code if code in _CONTROLS else code for code in range(256))
"""For ``bytes.translate``: changes control characters and nothing else."""
_TARGET = bytes(code if 0x20 < code < 0x7F and code != 0x23 else 0xFF - code for code in range(256))
"""For ``bytes.translate``: leaves alone what may stand in a target, and changes all else, ``#`` included."""
_SLASH = 0x2F
_VERSION = b"HTTP/1.1\r\n"
_NAME = re.compile(TOKEN)
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
_HOST_NAME = b"host"
_LENGTH_NAME = b"content-length"
_TYPE_NAME = b"content-type"
_CONNECTION_NAME = b"connection"
_WATCHED = {name: name for name in (_HOST_NAME, _LENGTH_NAME, _TYPE_NAME, _CONNECTION_NAME, *PROXY_FIELDS)}
_SECRET = frozenset((b"cookie", b"authorization", b"proxy-authorization"))
_DECLINED = frozenset((b"transfer-encoding", b"transfer_encoding", b"content_length", b"upgrade", b"expect", b"te", b"trailer"))
LONGEST_HEAD = 16 * 1024
"""Bytes, as many as one line may have by default; longer heads are not plain, nor are those with more than ``MOST_FIELDS``."""
MOST_FIELDS = 100
_SECRET_STARTS = (
    (b"\r\nCookie: ", b"cookie"),
    (b"\r\nAuthorization: ", b"authorization"),
    (b"\r\ncookie: ", b"cookie"),
    (b"\r\nauthorization: ", b"authorization"),
)
"""How lines with secrets begin, the end of the one before included, and their names. In lower case they come from clients and
proxies that know HTTP/2."""
_TERMS = {
    (True, False): PLAIN,
    (True, True): Terms(proxied=True),
    (False, False): Terms(keep_alive=False),
    (False, True): Terms(keep_alive=False, proxied=True),
}
"""By whether the connection persists, and whether a proxy tells of its client."""
_LONGEST = 200
"""Bytes of a line that is remembered."""
_MOST = 2048
"""Lines, names and whole heads remembered; then all are forgotten, so that no client can fill the memory."""
_LONGEST_BLOCK = 1024
"""Bytes of a header block that is remembered."""
_MOST_BLOCKS = 256

Block = tuple[Fields, int, Terms]
"""What a header block means: its fields (a tuple if they are remembered), the bytes of the body, and the terms."""
Around = tuple[bytes, bytes, bytes, Fields, Fields, int, Terms]
"""What stands around a secret: the block up to it and from its end on, its field's name, the fields before and after it, and
the rest of what the block means, whatever the secret is."""

_heads: dict[bytes, RequestHead] = {}
"""Whole heads without secrets: health checks and others who ask for the same again and again."""
_blocks: dict[bytes, Block] = {}
"""Valid header blocks without secrets, from the version at the end of the request line on."""
_arounds: dict[tuple[bytes, bytes], Around] = {}
"""What is valid around a secret, by what is before and after it."""
_lines: dict[bytes, Field] = {}
"""Valid lines and their fields, but for those whose names are watched."""
_watched_lines: dict[bytes, Field] = {}
"""Valid lines of watched names, and their fields."""
_names: dict[bytes, bytes] = {}
"""Valid names as clients write them, in lower case; the watched ones as the very objects that :func:`_read` looks for."""


def lane() -> Callable[[bytes], RequestHead | None]:
    """The fast lane of a new connection: :meth:`Lane.parse` of its own."""
    return Lane().parse


class Lane:
    """One connection's way to read plain heads.

    What its client sends around a secret (the cookie, as a rule) is compared with what came around the last, which costs less
    than to look it up.
    """

    __slots__ = ("_around",)

    def __init__(self) -> None:
        self._around: Around = _NOTHING

    def parse(self, raw: bytes) -> RequestHead | None:
        """Parse one whole request head, final empty line included; None for one that is not plain.

        The same head may be returned again, on other connections as well: it is not to be changed.
        """
        size = len(raw)
        if size <= _LONGEST:
            head = _heads.get(raw)
            if head is not None:
                return head
        elif size > LONGEST_HEAD:
            return None
        try:
            start, target, block = raw.split(b" ", 2)
        except ValueError:
            return None
        method = _METHODS.get(start)
        if method is None or not target or target[0] != _SLASH or target.translate(_TARGET) != target:
            return None
        path, _, query = target.partition(b"?")
        parts = decode_path(path), path, query
        before, after, name, first, last, length, terms = self._around
        begin, end = len(before), len(block) - len(after)
        if block[:begin] == before and block[end:] == after and begin <= end:
            secret = block[begin:end]
            if secret.translate(_UNCONTROLLED) == secret:
                return RequestHead(method, target, parts, [*first, (name, secret.strip()), *last], length, terms)
        known = _blocks.get(block)
        if known is None:
            around = _look_around(block)
            if around is not None:
                self._around = around
                return self.parse(raw)
            known = _read(block)
            if known is None:
                return None
        headers, length, terms = known
        head = RequestHead(method, target, parts, headers, length, terms)
        if size <= _LONGEST and type(headers) is tuple and not query:
            # Queries differ from request to request, and hold secrets at times.
            remember(_heads, raw, head, _MOST)
        return head


_NOTHING: Around = b"nothing", b"", b"", (), (), 0, PLAIN
"""Around no secret: no block begins so."""


def _look_around(block: bytes) -> Around | None:
    """What stands around the first secret in a header block; None if there is none, or the block is not plain."""
    for mark, name in _SECRET_STARTS:
        before, found, rest = block.partition(mark)
        if found:
            secret, _, _ = rest.partition(b"\r\n")
            if secret.translate(_UNCONTROLLED) != secret:
                return None
            after = rest[len(secret) :]
            return _arounds.get((before + mark, after)) or _learn_around(before, mark, name, after)
    return None


def _learn_around(before: bytes, mark: bytes, name: bytes, after: bytes) -> Around | None:
    """What a header block means of which a secret line was cut out, remembered if it is worth it; None to decline."""
    block = before + after
    known = _blocks.get(block) or _read(block)
    if known is None or len(known[0]) == MOST_FIELDS:
        return None
    headers, length, terms = known
    before += mark
    place = before.count(b"\r\n") - 1
    around = before, after, name, headers[:place], headers[place:], length, terms
    if type(headers) is tuple:
        remember(_arounds, (before, after), around, _MOST_BLOCKS)
    return around


def _read(block: bytes) -> Block | None:
    """What a header block means, remembered if it is worth it; None to decline.

    It begins with the version, as the end of the request line, and ends with an empty line.
    """
    if not block.startswith(_VERSION) or not block.endswith(b"\r\n\r\n"):
        return None
    headers: list[Field] = []
    length = 0
    host = size = kind = connection = None
    secret = proxied = False
    for line in block[len(_VERSION) : -4].split(b"\r\n"):
        field = _lines.get(line)
        if field is None:
            field = _watched_lines.get(line) or _learn(line)
            if field is None:
                return None
            name = field[0]
            if name is _HOST_NAME:
                if host is not None:
                    return None
                host = field
            elif name is _LENGTH_NAME:
                if size is not None:
                    return None
                size = field
                length = int(field[1])
            elif name is _TYPE_NAME:
                if kind is not None:
                    return None
                kind = field
            elif name is _CONNECTION_NAME:
                if connection is not None:
                    return None
                connection = field
            elif name in _SECRET:
                secret = True
            elif name in PROXY_FIELDS:
                proxied = True
        headers.append(field)
    if host is None or len(headers) > MOST_FIELDS:
        return None
    terms = _TERMS[connection is None or connection[1].lower() != b"close", proxied]
    if secret or len(block) > _LONGEST_BLOCK:
        return headers, length, terms
    known = tuple(headers), length, terms
    remember(_blocks, block, known, _MOST_BLOCKS)
    return known


def _learn(line: bytes) -> Field | None:
    """The field that ``line`` holds, remembered if it is worth it; None to decline."""
    raw_name, colon, value = line.partition(b":")
    if not colon:
        return None  # Checked before the name is looked up: a known name alone on a line was taken once.
    name = _names.get(raw_name)
    if name is None:
        if not _NAME.fullmatch(raw_name):
            return None
        name = raw_name.lower()
        name = _WATCHED.get(name, name)
        if len(raw_name) <= _LONGEST:
            remember(_names, raw_name, name, _MOST)
    if value.translate(_UNCONTROLLED) != value or name in _DECLINED:
        return None
    value = value.strip(b" \t")
    if name is _LENGTH_NAME:
        if not _NUMBER.fullmatch(value) or not line.endswith((b":" + value, b": " + value)):
            return None
    elif name is _HOST_NAME:
        if not is_host(value):
            return None
    elif name is _CONNECTION_NAME and value.lower() not in (b"keep-alive", b"close"):
        return None
    field = (name, value)
    if name not in _SECRET and len(line) <= _LONGEST:
        remember(_watched_lines if name in _WATCHED else _lines, line, field, _MOST)
    return field
