"""Where a request's body ends (RFC 9112 sections 6 and 7), written once for all codecs.

A reader is fed what arrives and says what of it is body; when ``complete`` it has left in ``rest`` the bytes behind the body,
which belong to the next request. Readers are pure and strict: what is ambiguous raises :class:`BadRequest`.
"""

from __future__ import annotations

import re

from .codec import TOKEN, BadRequest


class LengthReader:
    """A body of ``length`` bytes (Content-Length)."""

    def __init__(self, length: int) -> None:
        self._missing = length
        self.complete = length == 0
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
_TRAILER_LINE = re.compile(rb"%b:[\t -~\x80-\xff]*\r\n" % TOKEN)


class ChunkedReader:
    """A chunked body (RFC 9112 section 7.1).

    Extensions and trailers are checked, bounded and dropped: ASGI has no place for them.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: bytes that the extensions of one chunk, or all trailers together, may have."""
        self._limit = limit
        self._buffer = b""
        self._missing = 0
        """Bytes missing of the current chunk's data."""
        self._step = self._read_size
        self._trailers = 0
        self.complete = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The body bytes that ``data`` brings. Raises :class:`BadRequest`, after which the connection is beyond repair."""
        self._buffer += data
        pieces: list[bytes] = []
        while not self.complete and self._step(pieces):
            pass
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self) -> bytes | None:
        """The next line with its CRLF; None while it is not whole."""
        end = self._buffer.find(b"\n") + 1
        if (end or len(self._buffer)) > self._limit:
            raise BadRequest(431 if self._step == self._read_trailer else 400, "line too long in a chunked body")
        if not end:
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line

    def _read_size(self, pieces: list[bytes]) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise BadRequest(400, "malformed chunk size")
        self._missing = int(match[1], 16)
        self._step = self._read_data if self._missing else self._read_trailer
        return True

    def _read_data(self, pieces: list[bytes]) -> bool:
        piece, self._buffer = self._buffer[: self._missing], self._buffer[self._missing :]
        if piece:
            pieces.append(piece)
            self._missing -= len(piece)
        if self._missing:
            return False
        self._step = self._read_end_of_data
        return True

    def _read_end_of_data(self, pieces: list[bytes]) -> bool:
        if not b"\r\n".startswith(self._buffer[:2]):
            raise BadRequest(400, "chunk longer than its size")
        if len(self._buffer) < 2:
            return False
        self._buffer = self._buffer[2:]
        self._step = self._read_size
        return True

    def _read_trailer(self, pieces: list[bytes]) -> bool:
        line = self._line()
        if line is None:
            return False
        if line == b"\r\n":
            self.complete = True
            self.rest, self._buffer = self._buffer, b""
            return False
        self._trailers += len(line)
        if self._trailers > self._limit:
            raise BadRequest(431, "trailers too large")
        if not _TRAILER_LINE.fullmatch(line):
            raise BadRequest(400, "malformed trailer")
        return True


BodyReader = LengthReader | ChunkedReader
