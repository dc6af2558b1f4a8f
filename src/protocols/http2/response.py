"""Response heads as header blocks.

What a response's head must and must not have is decided by http1/response.py, whose lines are translated here. So there is one
place for the rules, and its memories work for both versions of HTTP.
"""

from __future__ import annotations

from ..defaults import Defaults
from ..http1.response import HARMLESS, MEANINGFUL
from ..http1.response import ResponseHeads as Http1Heads
from ..memory import remember
from .hpack import encode_field

_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Fields of one connection of HTTP/1.1: never sent here (RFC 9113 section 8.2.2)."""
_SHARED = HARMLESS | MEANINGFUL
_LONGEST = 1024
"""Bytes of a head that is remembered."""
_MOST = 1024
"""Heads, or lines, that are remembered; then all are forgotten."""

BARE = Http1Heads(Defaults(b""))
"""Adds nothing: what all responses have is kept as a block of its own, because the Date changes every second."""


class ResponseHeads:
    """The header blocks of one worker's responses.

    The encoding uses no dynamic table, so it is the same on all connections. Whole heads are remembered if they tell nothing of
    a client or a resource (see http1/response.py), and single lines on the same condition. That spares a response nine tenths
    of its encoding, some 5 microseconds.
    """

    __slots__ = ("_common", "_defaults", "_known", "_lines", "_seen")

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._known: dict[bytes, tuple[bytes, bool]] = {}
        """By the head's lines: its block, and whether the application has given a Date or a Server of its own."""
        self._lines: dict[bytes, bytes] = {}
        self._seen = b""
        """The default lines that :attr:`_common` encodes."""
        self._common = b""

    def block(self, head: bytes) -> bytes:
        """The block of ``head``, which is a status line and lines as :data:`BARE` leaves them, and of the default lines."""
        found = self._known.get(head)
        if found is None:
            found = self._translate(head)
        block, gives = found
        if gives:
            given = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")}
            return block + self.lines(self._defaults.without(given))
        lines = self._defaults.block
        if lines is not self._seen:
            self._common = self.lines(lines)
            self._seen = lines
        return block + self._common

    def lines(self, lines: bytes) -> bytes:
        """The block of header lines, each with its CRLF."""
        return b"".join([_encode(line)[0] for line in lines.split(b"\r\n") if line])

    def _translate(self, head: bytes) -> tuple[bytes, bool]:
        first, *lines = head[:-4].split(b"\r\n")
        parts = [encode_field(b":status", first[9:12])]
        shared, gives = len(head) <= _LONGEST, False
        for line in lines:
            part = self._lines.get(line)
            if part is None:
                part, name = _encode(line)
                if name not in _SHARED:
                    shared = False
                elif name in HARMLESS:
                    remember(self._lines, line, part, _MOST)
                elif name == b"date" or name == b"server":
                    gives = True
            parts.append(part)
        found = b"".join(parts), gives
        if shared and not gives:
            remember(self._known, head, found, _MOST)
        return found


def _encode(line: bytes) -> tuple[bytes, bytes]:
    """The encoding of a line's field, empty if it has no place here; and the field's name."""
    name, _, value = line.partition(b":")
    name = name.lower()
    return (b"" if name in _CONNECTION else encode_field(name, value.strip(b" \t"))), name
