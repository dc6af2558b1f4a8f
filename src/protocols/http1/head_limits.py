"""How large a request head and its parts may be (RFC 9112 section 3, RFC 9110 section 5.4; statuses of RFC 6585 section 5)."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import BadRequest
from ..limits import Limits
from ..request import RequestHead
from .fast import MAX_FIELDS, MAX_HEAD

Parse = Callable[[bytes], RequestHead | None]


def check(raw: bytes, limits: Limits) -> None:
    """Check a whole head. Raises :class:`BadRequest`: 414, 431, or 400 for a method without end."""
    if len(raw) > min(limits.request_line, limits.field_size):
        line, *fields = raw.split(b"\r\n")
        if len(line) > limits.request_line:
            raise _too_long(raw)
        if len(raw) > limits.head:
            raise BadRequest(431, "request head too large")
        if max(map(len, fields)) + 2 > limits.field_size:
            raise BadRequest(431, "header too large")
    if raw.count(b"\r\n") - 2 > limits.header_count:
        raise BadRequest(431, "too many headers")


def within(limits: Limits, parse: Parse) -> Parse:
    """``parse``, taking no heads but those within ``limits``; others are for :func:`check` to refuse by the right name."""
    size, count = min(limits.request_line, limits.field_size, limits.head), limits.header_count

    def fits(raw: bytes) -> RequestHead | None:
        if len(raw) > size:
            return None
        head = parse(raw)
        return head if head is not None and len(head.headers) <= count else None

    return fits


def lanes_within(limits: Limits, fast: Callable[[], Parse]) -> Callable[[], Parse]:
    """What makes fast lanes as ``fast`` does, each of them :func:`within` the limits."""
    if min(limits.request_line, limits.field_size, limits.head) >= MAX_HEAD and limits.header_count >= MAX_FIELDS:
        # As all lanes are.
        return fast
    return lambda: within(limits, fast())


def check_unfinished(data: bytes, checked: int, limits: Limits) -> int:
    """Check what has come of a head, of which ``checked`` bytes have passed before. Raises :class:`BadRequest`.

    Returns how many bytes may follow unchecked, as long as none of them is a control character: they can't end the head, nor
    spoil it, nor exceed a limit.
    """
    # Imported here because heads seldom come in pieces.
    from . import grammar

    grammar.check_unfinished(data, checked)
    size = data.find(b"\r\n")
    if (size if size >= 0 else len(data) - 1) > limits.request_line:
        raise _too_long(data)
    if len(data) > limits.head:
        raise BadRequest(431, "request head too large")
    longest = limits.request_line if size < 0 else limits.field_size
    line = len(data) - 1 - data.rfind(b"\n")
    if size >= 0 and line > longest:
        raise BadRequest(431, "header too large")
    # After a carriage return only a line feed is right.
    return 0 if data.endswith(b"\r") else min(longest - line, limits.head - len(data))


def _too_long(data: bytes) -> BadRequest:
    """Which part of the request line at the start of ``data`` is to blame for its length."""
    if data.find(b" ", 0, 256) < 0:
        return BadRequest(400, "method too long")
    return BadRequest(414, "request line too long")
