"""Compression of messages: permessage-deflate (RFC 7692), its negotiation and its two streams."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TAIL = b"\x00\x00\xff\xff"
"""Ends every flushed block; left away on the wire (RFC 7692 section 7.2.1)."""
WINDOW = 12
"""Bits of the windows that the server asks for: 4 KiB. The 32 KiB of zlib's own default cost four times the memory of a
connection and win little on messages that are shorter than the window."""
MEMORY = 5
"""zlib's memLevel that goes with it."""
SMALLEST = 64
"""Bytes below which a message is sent as it is: it would hardly shrink, and costs as much to deflate as a longer one."""


class TooBig(Exception):
    """A message inflates to more than it may have."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The parameters that both sides have agreed upon."""

    server_window: int = WINDOW
    """Bits, 9 to 15."""
    client_window: int | None = None
    """Bits, 8 to 15; None if the client does not let the server choose."""
    server_takeover: bool = True
    """Whether the server's compression goes on from one message to the next."""
    client_takeover: bool = True

    def field(self) -> bytes:
        """The value of Sec-WebSocket-Extensions in the response."""
        parts = [b"permessage-deflate", b"server_max_window_bits=%d" % self.server_window]
        if self.client_window is not None:
            parts.append(b"client_max_window_bits=%d" % self.client_window)
        if not self.server_takeover:
            parts.append(b"server_no_context_takeover")
        if not self.client_takeover:
            parts.append(b"client_no_context_takeover")
        return b"; ".join(parts)


def agree(offers: Iterable[Sequence[tuple[bytes, bytes | None]]]) -> Agreement | None:
    """The first of the client's offers, each a list of parameters, that can be met (RFC 7692 section 5.1); None if none can."""
    for parameters in offers:
        agreement = _consider(parameters)
        if agreement is not None:
            return agreement
    return None


def _consider(parameters: Sequence[tuple[bytes, bytes | None]]) -> Agreement | None:
    """Section 7.1: an offer with a parameter that is unknown, doubled, or has a value it can't have, has to be declined."""
    given = dict(parameters)
    if len(given) != len(parameters):
        return None
    server_window: int = WINDOW
    client_window: int | None = None
    for name, value in parameters:
        if name in (b"server_no_context_takeover", b"client_no_context_takeover"):
            if value is not None:
                return None
        elif name == b"server_max_window_bits":
            bits = _bits(value)
            # zlib can't deflate with a window of 8 bits.
            if bits is None or bits < 9:
                return None
            server_window = min(bits, WINDOW)
        elif name == b"client_max_window_bits":
            bits = 15 if value is None else _bits(value)
            if bits is None:
                return None
            client_window = min(bits, WINDOW)
        else:
            return None
    return Agreement(
        server_window,
        client_window,
        b"server_no_context_takeover" not in given,
        b"client_no_context_takeover" not in given,
    )


def _bits(value: bytes | None) -> int | None:
    return int(value) if value in (b"8", b"9", b"10", b"11", b"12", b"13", b"14", b"15") else None


class Deflater:
    """What the server sends."""

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._stream: zlib._Compress | None = None

    def message(self, data: bytes) -> bytes:
        """One whole message, as the payload of a frame with RSV1 set."""
        stream = self._stream
        if stream is None:
            stream = zlib.compressobj(wbits=-self._agreement.server_window, memLevel=MEMORY)
            if self._agreement.server_takeover:
                self._stream = stream
        return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Inflater:
    """What the client has sent. It never makes more bytes than it is allowed to, however well they were compressed."""

    def __init__(self, agreement: Agreement) -> None:
        self._takeover = agreement.client_takeover
        # A window larger than the client's reads all that it can write; zlib writes 9 bits where it was asked for 8.
        self._window = -max(agreement.client_window or 15, 9)
        self._stream: zlib._Decompress | None = None

    def message(self, payload: bytes, budget: int) -> bytes:
        """What one whole message inflates to: the same as :meth:`feed` and :meth:`end`, for half the cost."""
        stream = self._stream
        if stream is None:
            stream = self._stream = zlib.decompressobj(wbits=self._window)
        inflated = stream.decompress(payload + TAIL, budget + 1)
        if len(inflated) > budget:
            raise TooBig
        if not self._takeover or stream.eof:
            self._stream = None
        return inflated

    def feed(self, data: bytes, budget: int) -> bytes:
        """The bytes that a piece of a message inflates to. Raises :class:`TooBig` above ``budget`` of them, and zlib.error."""
        if self._stream is None:
            self._stream = zlib.decompressobj(wbits=self._window)
        inflated = self._stream.decompress(data, budget + 1)
        if len(inflated) > budget:
            raise TooBig
        return inflated

    def end(self, budget: int) -> bytes:
        """The last bytes of a message."""
        inflated = self.feed(TAIL, budget)
        # A stream that has ended (a block with BFINAL) inflates no further message.
        if not self._takeover or (self._stream is not None and self._stream.eof):
            self._stream = None
        return inflated
