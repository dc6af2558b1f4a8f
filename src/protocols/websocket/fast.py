"""The fast lane: one masked, unfragmented text or binary frame, whole if compressed; of anything else it says "not mine".

It must never accept what the reference (wsproto) refuses or reads differently; declining is always right.
"""

from __future__ import annotations

import zlib

from .bulk import Bulk
from .deflate import Inflater, TooBig
from .frames import BAD_PAYLOAD, BINARY, COMPRESSED, TEXT, TOO_BIG, Event, Violation
from .masking import unmask

_DEFLATED_TEXT = TEXT | COMPRESSED
_DEFLATED_BINARY = BINARY | COMPRESSED


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


def read(data: bytes, start: int, limit: int, inflater: Inflater | None = None) -> tuple[Event | Bulk, int] | None:
    """The message whose one frame begins at ``start``, and where the frame ends; None for a frame that is not plain.

    Of a frame whose head alone is whole: what reads the rest, and where that begins.

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
    if size < 0:
        return None
    begin = start + 6
    if size > 125:
        # A length in more bytes than it needs is an error: the reference's to report.
        begin, least = (start + 8, 126) if size == 126 else (start + 14, 65536)
        size = int.from_bytes(data[start + 2 : begin - 4], "big")
        if size < least:
            return None
    end = begin + size
    if size > limit:
        return None
    if end > len(data):
        return None if compressed or begin > len(data) else (Bulk(size, data[begin - 4 : begin], first == TEXT), begin)
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
