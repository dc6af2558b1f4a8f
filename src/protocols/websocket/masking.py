"""Taking off the mask that a client puts on what it sends (RFC 6455 section 5.3)."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable

_TABLES = [bytes(value ^ key for value in range(256)) for key in range(256)]
_LONG = 512
"""Bytes from which translating every fourth byte by a table is faster than one exclusive or of large integers."""


def unmask_in_python(payload: bytes, key: bytes) -> bytes:
    """``key`` has four bytes."""
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
