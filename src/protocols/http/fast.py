"""The fast lane: plain, well-formed requests, parsed in a few microseconds; of anything else it says "not mine".

It must never accept what the reference (h11 behind the strict grammar of codec.py) refuses or reads differently; declining is
always right. So its grammar is a strict subset: a method everybody knows, a target in origin-form, HTTP/1.1, exact CRLFs, one
Host, at most one Content-Length and Content-Type, and no field that changes framing or the connection's meaning but
``Connection: keep-alive`` or ``close``.

A client sends the same header lines with every request, but for its cookies: so what was found valid once is remembered and
looked up, not parsed. That goes for whole header blocks (less a cookie) and, where a block is new, for its lines. What is secret
(cookies, credentials) or long is parsed each time and not kept.
"""

from __future__ import annotations

import re
from typing import TypeVar

from .codec import TOKEN, RequestHead, is_host

_METHODS = {name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
_CONTROLS = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
_NOT_IN_TARGETS = bytes([*range(0x21), ord("#"), *range(0x7F, 0x100)])
_NAME = re.compile(TOKEN)
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
_HOST_NAME = b"host"
_LENGTH_NAME = b"content-length"
_TYPE_NAME = b"content-type"
_CONNECTION_NAME = b"connection"
_WATCHED = {name: name for name in (_HOST_NAME, _LENGTH_NAME, _TYPE_NAME, _CONNECTION_NAME)}
_SECRET = frozenset((b"cookie", b"authorization", b"proxy-authorization"))
_DECLINED = frozenset((b"transfer-encoding", b"transfer_encoding", b"content_length", b"upgrade", b"expect", b"te", b"trailer"))
_COOKIE = b"\r\nCookie: "
_LONGEST = 200
"""Bytes of a line that is remembered."""
_LONGEST_BLOCK = 1024
"""Bytes of a header block that is remembered."""
_MOST = 2048
"""Lines and names remembered; then all are forgotten, so that no client can fill the memory."""
_MOST_BLOCKS = 256

T = TypeVar("T")
Field = tuple[bytes, bytes]
Block = tuple[list[Field], int, bool]
"""What a header block means: its fields, the bytes of the body, and whether the connection persists."""

_starts: dict[bytes, tuple[str, bytes]] = {}
"""Valid request lines without a query, and their methods and targets."""
_blocks: dict[bytes, Block] = {}
"""Valid header blocks without secrets."""
_lines: dict[bytes, Field] = {}
"""Valid lines and their fields, but for those whose names are watched."""
_watched_lines: dict[bytes, Field] = {}
"""Valid lines of watched names, and their fields."""
_names: dict[bytes, bytes] = {}
"""Valid names as clients write them, in lower case; the watched ones as the very objects that :func:`_read` looks for."""


def parse(raw: bytes) -> RequestHead | None:
    """Parse one whole request head, final empty line included; None for one that is not plain."""
    line, _, block = raw.partition(b"\r\n")
    start = _starts.get(line) or _learn_start(line)
    if start is None:
        return None
    known = _blocks.get(block)
    if known is not None:
        headers, length, lasting = known
        # A copy: the list becomes the application's, which may change it.
        return RequestHead(start[0], start[1], "1.1", headers.copy(), length, lasting)
    before, cookie, rest = block.partition(_COOKIE)
    if not cookie:
        known = _read(block)
        return RequestHead(start[0], start[1], "1.1", known[0].copy(), known[1], known[2]) if known is not None else None
    # The block without its cookie is likely to be known.
    value, _, after = rest.partition(b"\r\n")
    others = before + b"\r\n" + after
    known = _blocks.get(others) or _read(others)
    if known is None or len(value.translate(None, _CONTROLS)) != len(value):
        return None
    headers, length, lasting = known
    headers = headers.copy()
    headers.insert(before.count(b"\r\n") + 1, (b"cookie", value.strip(b" \t")))
    return RequestHead(start[0], start[1], "1.1", headers, length, lasting)


def _read(block: bytes) -> Block | None:
    """What a header block, final empty line included, means; remembered if it is worth it, None to decline."""
    if not block.endswith(b"\r\n\r\n"):
        return None
    headers: list[Field] = []
    length = 0
    host = size = kind = connection = None
    secret = False
    for line in block[:-4].split(b"\r\n"):
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
        headers.append(field)
    if host is None:
        return None
    known = (headers, length, connection is None or connection[1].lower() != b"close")
    if not secret and len(block) <= _LONGEST_BLOCK:
        if len(_blocks) >= _MOST_BLOCKS:
            _blocks.clear()
        _blocks[block] = known
    return known


def _learn_start(line: bytes) -> tuple[str, bytes] | None:
    """Method and target of a request line, remembered if it is worth it; None to decline."""
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] != b"HTTP/1.1":
        return None
    method, target = _METHODS.get(parts[0]), parts[1]
    # Deleting what may not be there and comparing sizes takes one pass in C, several times faster than a regular expression.
    if method is None or target[:1] != b"/" or len(target.translate(None, _NOT_IN_TARGETS)) != len(target):
        return None
    start = (method, target)
    if b"?" not in target:
        # Queries differ from request to request, and hold secrets at times.
        _remember(_starts, line, start)
    return start


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
        _remember(_names, raw_name, name)
    if len(value.translate(None, _CONTROLS)) != len(value) or name in _DECLINED:
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
    if name not in _SECRET:
        _remember(_watched_lines if name in _WATCHED else _lines, line, field)
    return field


def _remember(known: dict[bytes, T], line: bytes, value: T) -> None:
    if len(line) <= _LONGEST:
        if len(known) >= _MOST:
            known.clear()
        known[line] = value
