"""The fast lane: one whole, masked, unfragmented text or binary frame; of anything else it says "not mine".

It must never accept what the reference (wsproto) refuses or reads differently; declining is always right.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable

from .frames import BINARY, TEXT

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


def read(data: bytes, start: int, limit: int) -> tuple[str | bytes, int] | None:
    """The message whose one frame begins at ``start``, and where the frame ends; None for a frame that is not plain.

    ``limit``: bytes that the message may have.
    """
    if len(data) < start + 6:
        return None
    first, size = data[start], data[start + 1] - 0x80
    if (first != TEXT and first != BINARY) or size < 0 or size == 127:
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
    if first == BINARY:
        return payload, end
    try:
        return payload.decode(), end
    except UnicodeDecodeError:
        return None
