"""The fast lane: plain, well-formed requests, parsed in a few microseconds; of anything else it says "not mine".

It must never accept what the reference (h11 behind the strict grammar of codec.py) refuses or reads differently; declining is
always right. So its grammar is a strict subset: a method everybody knows, a target in origin-form, HTTP/1.1, exact CRLFs, one
Host, at most one Content-Length, and no field that changes framing or the connection's meaning but ``Connection: keep-alive``.

Most header lines of a client are the same in every request, so lines are looked up, not parsed: a line that was found valid
once is remembered with its field. What is secret (cookies, credentials) or long is parsed each time and not kept.
"""

from __future__ import annotations

import re
from typing import TypeVar

from .codec import HOST, TOKEN, RequestHead

_METHODS = {
    b"GET": "GET",
    b"HEAD": "HEAD",
    b"POST": "POST",
    b"PUT": "PUT",
    b"DELETE": "DELETE",
    b"PATCH": "PATCH",
    b"OPTIONS": "OPTIONS",
}
_CONTROLS = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])
_NAME = re.compile(TOKEN)
_SECRET = frozenset((b"cookie", b"authorization", b"proxy-authorization"))
_DECLINED = frozenset((b"transfer-encoding", b"upgrade", b"expect", b"te", b"trailer"))
_LONGEST = 200
"""Bytes of a line that is remembered."""
_MOST = 2048
"""Lines and names remembered; then all are forgotten, so that no client can fill the memory."""

T = TypeVar("T")
Field = tuple[bytes, bytes]

_lines: dict[bytes, Field] = {}
"""Valid lines without influence on framing, Host or connection."""
_hosts: dict[bytes, Field] = {}
"""Valid Host lines."""
_names: dict[bytes, bytes] = {}
"""Valid names as clients write them, in lower case."""


def parse(raw: bytes) -> RequestHead | None:
    """Parse one whole request head, final empty line included; None for one that is not plain."""
    lines = raw.split(b"\r\n")
    start = lines[0].split(b" ")
    if len(start) != 3 or start[2] != b"HTTP/1.1":
        return None
    method = _METHODS.get(start[0])
    target = start[1]
    # Without control characters nothing is left of a head but each line's CR and LF (the last empty item adds no pair).
    if (
        method is None
        or target[:1] != b"/"
        or b"#" in target
        or not target.isascii()
        or len(raw.translate(None, _CONTROLS)) != len(raw) - 2 * len(lines) + 2
    ):
        return None
    headers: list[Field] = []
    length = -1
    hosted = False
    for index in range(1, len(lines) - 2):
        line = lines[index]
        field = _lines.get(line)
        if field is None:
            field = _hosts.get(line)
            if field is None:
                field = _learn(line)
                if field is None:
                    return None
            name = field[0]
            if name == b"host":
                if hosted:
                    return None
                hosted = True
            elif name == b"content-length":
                if length >= 0:
                    return None
                length = int(field[1])
        headers.append(field)
    if not hosted:
        return None
    return RequestHead(method, target, "1.1", headers, length if length > 0 else 0)


def _learn(line: bytes) -> Field | None:
    """The field that ``line`` holds, remembered if it is worth it; None to decline."""
    raw_name, colon, value = line.partition(b":")
    name = _names.get(raw_name)
    if name is None:
        if not colon or not _NAME.fullmatch(raw_name):
            return None
        name = raw_name.lower()
        _remember(_names, raw_name, name)
    value = value.strip(b" \t")
    if name == b"content-length":
        return (name, value) if value.isdigit() and len(value) <= 18 and line.endswith((b":" + value, b": " + value)) else None
    field = (name, value)
    if name == b"host":
        if not HOST.fullmatch(value):
            return None
        _remember(_hosts, line, field)
    elif name in _DECLINED or (name == b"connection" and value.lower() != b"keep-alive"):
        return None
    elif name not in _SECRET:
        _remember(_lines, line, field)
    return field


def _remember(known: dict[bytes, T], line: bytes, value: T) -> None:
    if len(line) <= _LONGEST:
        if len(known) >= _MOST:
            known.clear()
        known[line] = value
