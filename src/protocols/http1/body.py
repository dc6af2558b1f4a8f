"""Where a request's body ends (RFC 9112 sections 6 and 7), written once for all codecs.

A reader is fed what arrives and returns the part that is body. When it is ``complete``, ``rest`` holds the bytes behind the
body, which belong to the next request. Readers are pure and strict: what is ambiguous raises :class:`BadRequest`.
"""

from __future__ import annotations

import re

from ...errors import BadRequest
from .codec import TOKEN


class LengthReader:
    """A body of ``length`` bytes (Content-Length)."""

    def __init__(self, length: int) -> None:
        self._missing = length
        self.complete = length == 0
        self.more = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The part of ``data`` that is body."""
        if len(data) < self._missing:
            self._missing -= len(data)
            return data
        body, self.rest = data[: self._missing], data[self._missing :]
        self._missing = 0
        self.complete = True
        return body


_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*)\r\n" % (TOKEN, TOKEN, _QUOTED))
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_SIZE_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:[ \t;][\t -~\x80-\xff]*)?)?\r?")
_TRAILER_LINE = re.compile(rb"(%b):[\t -~\x80-\xff]*\r\n" % TOKEN)
_TRAILER_BEGUN = re.compile(rb"(?:%b(?::[\t -~\x80-\xff]*)?)?\r?" % TOKEN)
_REST_BEGUN = re.compile(rb"[\t -~\x80-\xff]*\r?")
_SHORT = 64
"""Bytes of a line that are checked against its grammar while it is not whole. A chunk's size is shorter, and so should a
trailer's name be; behind them almost any character may follow."""
_MAX_EXCESS = 16 * 1024
"""Bytes by which chunk extensions may exceed twice the chunks. Only an attack has more."""
_MAX_AT_ONCE = 1024
"""Chunks read before other clients get their turn. To read a megabyte of one-byte chunks takes a quarter of a second."""
_NO_TRAILERS = frozenset(
    (
        *(b"transfer-encoding", b"content-length", b"trailer", b"te", b"host", b"connection", b"upgrade", b"expect"),
        *(b"content-type", b"content-encoding", b"content-range", b"authorization", b"proxy-authorization", b"cookie"),
    )
)
"""Fields for framing, routing, authentication or the content's format, which must come before it (RFC 9110 section 6.5.1)."""


class ChunkedReader:
    """A chunked body (RFC 9112 section 7.1).

    Extensions and trailers are checked, bounded and dropped: ASGI has no place for them.
    """

    def __init__(self, limit: int, max_size: int | None = None) -> None:
        """``limit``: bytes of one chunk's extensions, and of all trailers together; ``max_size``: bytes of the body."""
        self._limit = limit
        self._max_size = max_size
        self._total = 0
        """Bytes of all chunks begun."""
        self._buffer = b""
        self._place = 0
        """Bytes of the buffer that are read. To cut them off at every step would copy the rest once for each small chunk."""
        self._missing = 0
        """Bytes of the current chunk's data that are still to come."""
        self._step = ChunkedReader._read_size
        """The method that reads next. It is not bound to self, because only the garbage collector frees such a cycle."""
        self._known = 0
        """Bytes of an unfinished line that are checked. To check them again for every byte that comes would be quadratic."""
        self._excess = 0
        """Bytes of chunk extensions so far, minus twice the bytes of the chunks."""
        self._trailers = 0
        self.complete = False
        self.more = False
        """What was fed is not all read. Feed ``b""`` to go on, after other clients had their turn."""
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The part of ``data`` that is body. Raises :class:`BadRequest`, after which the connection must end."""
        self._buffer = self._buffer + data if self._buffer else data
        self._place = 0
        pieces: list[bytes] = []
        self.more = False
        while self._step(self, pieces):
            if len(pieces) >= _MAX_AT_ONCE:
                self.more = True
                break
        left = self._buffer[self._place :]
        self._buffer, self.rest = (b"", left) if self.complete else (left, b"")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, begun: re.Pattern[bytes]) -> bytes | None:
        """The next line with its CRLF; None while it is not whole. Refuses at once what can't become a valid line."""
        start = self._place
        end = self._buffer.find(b"\n", start) + 1
        if (end or len(self._buffer)) - start > self._limit:
            raise BadRequest(431 if self._step is ChunkedReader._read_trailer else 400, "line too long in a chunked body")
        if not end:
            known = self._known
            is_rest = known > _SHORT and self._buffer[start + known - 1] != 0x0D
            if not (_REST_BEGUN.fullmatch(self._buffer, start + known) if is_rest else begun.fullmatch(self._buffer, start)):
                raise BadRequest(400, "malformed line in a chunked body")
            self._known = len(self._buffer) - start
            return None
        self._known = 0
        self._place = end
        return self._buffer[start:end]

    def _read_whole(self, pieces: list[bytes]) -> None:
        """Read the chunks that have arrived whole and have no extensions.

        This is a loop of its own so that a body in chunks of one byte does not cost much more than its bytes.
        """
        buffer, place, total = self._buffer, self._place, self._total
        while len(pieces) < _MAX_AT_ONCE and (match := _PLAIN_SIZE.match(buffer, place)) is not None:
            start = match.end()
            end = start + int(match[1], 16)
            if end == start or buffer[end : end + 2] != b"\r\n":
                break
            total += end - start
            pieces.append(buffer[start:end])
            place = end + 2
        self._place = place
        self._count(total - self._total)

    def _count(self, size: int) -> None:
        self._total += size
        if self._max_size is not None and self._total > self._max_size:
            raise BadRequest(413, "request body too large")

    def _read_size(self, pieces: list[bytes]) -> bool:
        self._read_whole(pieces)
        line = self._line(_SIZE_BEGUN)
        if line is None:
            return False
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise BadRequest(400, "malformed chunk size")
        self._missing = int(match[1], 16)
        self._count(self._missing)
        if match[2]:
            self._excess = max(0, self._excess + len(match[2]) - 2 * self._missing)
            if self._excess > _MAX_EXCESS:
                raise BadRequest(400, "more chunk extensions than body")
        self._step = ChunkedReader._read_data if self._missing else ChunkedReader._read_trailer
        return True

    def _read_data(self, pieces: list[bytes]) -> bool:
        piece = self._buffer[self._place : self._place + self._missing]
        if piece:
            pieces.append(piece)
            self._place += len(piece)
            self._missing -= len(piece)
        if self._missing:
            return False
        self._step = ChunkedReader._read_end_of_data
        return True

    def _read_end_of_data(self, pieces: list[bytes]) -> bool:
        end = self._buffer[self._place : self._place + 2]
        if not b"\r\n".startswith(end):
            raise BadRequest(400, "chunk longer than its size")
        if len(end) < 2:
            return False
        self._place += 2
        self._step = ChunkedReader._read_size
        return True

    def _read_trailer(self, pieces: list[bytes]) -> bool:
        line = self._line(_TRAILER_BEGUN)
        if line is None:
            return False
        if line == b"\r\n":
            self.complete = True
            return False
        self._trailers += len(line)
        if self._trailers > self._limit:
            raise BadRequest(431, "trailers too large")
        match = _TRAILER_LINE.fullmatch(line)
        if match is None:
            raise BadRequest(400, "malformed trailer")
        if match[1].lower() in _NO_TRAILERS:
            raise BadRequest(400, "a field that must not be a trailer")
        return True


BodyReader = LengthReader | ChunkedReader
