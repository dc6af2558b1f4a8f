"""The fast lane: plain, well-formed requests, parsed in a few microseconds; of anything else it says "not mine".

It must never accept what the reference (h11 behind the strict grammar of codec.py) refuses or reads differently; declining is
always right. So its grammar is a strict subset: a method everybody knows, a target in origin-form, HTTP/1.1, exact CRLFs, one
Host, at most one Content-Length and Content-Type, and no field that changes framing or the connection's meaning but
``Connection: keep-alive`` or ``close``.

Most header lines of a client are the same in every request, so lines are looked up, not parsed: a line that was found valid
once is remembered with its field. What is secret (cookies, credentials) or long is parsed each time and not kept.
"""

from __future__ import annotations

import re
from typing import TypeVar

from .codec import TOKEN, RequestHead, is_host

_START = re.compile(rb'([A-Z]+) (/[!"$-~]*) HTTP/1\.1\r\n')
_METHODS = {name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(TOKEN)
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
_HOST_NAME = b"host"
_LENGTH_NAME = b"content-length"
_TYPE_NAME = b"content-type"
_CONNECTION_NAME = b"connection"
_WATCHED = {name: name for name in (_HOST_NAME, _LENGTH_NAME, _TYPE_NAME, _CONNECTION_NAME)}
_SECRET = frozenset((b"cookie", b"authorization", b"proxy-authorization"))
_DECLINED = frozenset((b"transfer-encoding", b"transfer_encoding", b"content_length", b"upgrade", b"expect", b"te", b"trailer"))
_LONGEST = 200
"""Bytes of a line that is remembered."""
_MOST = 2048
"""Lines and names remembered; then all are forgotten, so that no client can fill the memory."""

T = TypeVar("T")
Field = tuple[bytes, bytes]

_lines: dict[bytes, Field] = {}
"""Valid lines and their fields."""
_names: dict[bytes, bytes] = {}
"""Valid names as clients write them, in lower case; the watched ones as the very objects that :func:`parse` looks for."""


def parse(raw: bytes) -> RequestHead | None:
    """Parse one whole request head, final empty line included; None for one that is not plain."""
    start = _START.match(raw)
    if start is None:
        return None
    code, target = start.groups()
    method = _METHODS.get(code)
    if method is None:
        return None
    headers: list[Field] = []
    length = 0
    host = size = kind = connection = None
    for line in raw[start.end() : -4].split(b"\r\n"):
        field = _lines.get(line) or _learn(line)
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
        headers.append(field)
    if host is None:
        return None
    return RequestHead(method, target, "1.1", headers, length, connection is None or connection[1].lower() != b"close")


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
    if _CONTROL.search(value) or name in _DECLINED:
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
        _remember(_lines, line, field)
    return field


def _remember(known: dict[bytes, T], line: bytes, value: T) -> None:
    if len(line) <= _LONGEST:
        if len(known) >= _MOST:
            known.clear()
        known[line] = value
