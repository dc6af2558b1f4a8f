"""The fast lane: one whole, masked, unfragmented text or binary frame, compressed or not; of anything else it says "not mine".

It must never accept what the reference (wsproto) refuses or reads differently; declining is always right.
"""

from __future__ import annotations

import contextlib
import importlib
import zlib
from collections.abc import Callable

from .deflate import Inflater, TooBig
from .frames import BAD_PAYLOAD, BINARY, COMPRESSED, TEXT, TOO_BIG, Event, Violation

_DEFLATED_TEXT = TEXT | COMPRESSED
_DEFLATED_BINARY = BINARY | COMPRESSED

_TABLES = [bytes(value ^ key for value in range(256)) for key in range(256)]
_LONG = 512
"""Bytes from which translating every fourth byte by a table is faster than one exclusive or of large integers."""


def unmask_in_python(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 section 5.3; ``key`` has four bytes."""
    size = len(payload)
    if size < _LONG:
        mask = int.from_bytes((key * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(payload, "little") ^ mask).to_bytes(size, "little")
    plain = bytearray(payload)
    for place in range(4):
        plain[place::4] = plain[place::4].translate(_TABLES[key[place]])
    return bytes(plain)


unmask: Callable[[bytes, bytes], bytes] = unmask_in_python
with contextlib.suppress(ImportError):
    # In C where websockets is installed: a quarter of what a short message costs to read, and most of a long one.
    unmask = importlib.import_module("websockets.speedups").apply_mask


def whole(data: bytes, limit: int) -> str | bytes | None:
    """The message, if ``data`` is one short frame, plain and uncompressed, and nothing else; the same as :func:`read` says."""
    size = len(data) - 6
    if size < 0 or size > 125 or size > limit or data[1] != size + 0x80:
        return None
    first = data[0]
    if first == TEXT:
        try:
            return unmask(data[6:], data[2:6]).decode()
        except UnicodeDecodeError:
            return None
    return unmask(data[6:], data[2:6]) if first == BINARY else None


def read(data: bytes, start: int, limit: int, inflater: Inflater | None = None) -> tuple[Event, int] | None:
    """The message whose one frame begins at ``start``, and where the frame ends; None for a frame that is not plain.

    ``limit``: bytes that the message may have; ``inflater``: of the connection, if it has agreed on compression. A compressed
    message has gone through it when it turns out wrong, so it can't be declined then, and is a violation.
    """
    if len(data) < start + 6:
        return None
    first, size = data[start], data[start + 1] - 0x80
    compressed = False
    if first != TEXT and first != BINARY:
        if inflater is None or (first != _DEFLATED_TEXT and first != _DEFLATED_BINARY):
            return None
        compressed = True
    if size < 0 or size == 127:
        return None
    begin = start + 6
    if size == 126:
        size = int.from_bytes(data[start + 2 : start + 4], "big")
        begin = start + 8
        # A length in more bytes than it needs is an error: the reference's to report.
        if size < 126:
            return None
    end = begin + size
    if size > limit or end > len(data):
        return None
    payload = unmask(data[begin:end], data[begin - 4 : begin])
    if compressed and inflater is not None:
        return _inflate(payload, limit, inflater, first == _DEFLATED_TEXT), end
    if first == BINARY:
        return payload, end
    try:
        return payload.decode(), end
    except UnicodeDecodeError:
        return None


def _inflate(payload: bytes, limit: int, inflater: Inflater, is_text: bool) -> Event:
    try:
        message = inflater.message(payload, limit)
        return message.decode() if is_text else message
    except TooBig:
        return Violation(TOO_BIG, "message too big")
    except (zlib.error, UnicodeDecodeError):
        return Violation(BAD_PAYLOAD, "invalid payload")
