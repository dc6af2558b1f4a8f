"""One connection's header blocks: put together from frames, decoded, and what they mean (RFC 9113 section 4.3)."""

from __future__ import annotations

from ..asgi import Field
from ..limits import Limits
from ..memory import remember
from .frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from .head import Request, RequestLane
from .hpack import CompressionError, Decoder, HeaderBomb

_MAX_CONTINUATIONS = 32
"""Frames after the first one of a header block. Eight of the default size are enough for any limit of a head that is usual."""
_LONGEST_REMEMBERED = 1024
"""Bytes of the longest block whose meaning is remembered."""
_MOST_REMEMBERED = 64
"""Blocks that a connection remembers."""
_MOST_FIELDS = 1024
"""Fields that it remembers with them, about: each takes some 130 bytes, so 20 connections that fill it on purpose take 4 MB."""


class HeaderBlocks:
    """From the pieces of header blocks to fields and requests.

    - *Fast lane.* Clients send the same block again and again, once their table holds its fields. What a block means that
      leaves the table alone is remembered until the table changes; such a request costs a look-up and no decoding.
    - *Bounds.* Of an incomplete block no more is kept than a head may have.
    """

    __slots__ = ("_decoder", "_lane", "_limits", "_parts", "_size", "flags", "known", "stream")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoder = Decoder()
        self._lane = RequestLane(limits)
        self.known: dict[bytes, Request] = self._decoder.memo
        """What whole blocks mean, as far as that is remembered."""
        self.stream = 0
        """The stream whose block has begun and is not complete; 0 if there is none."""
        self.flags = 0
        """Those of its first frame."""
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self, stream: int, flags: int, part: bytes) -> None:
        """The block goes on in CONTINUATION frames. Raises as :meth:`extend`."""
        self.stream, self.flags = stream, flags
        self._size = 0
        self.extend(part)

    def extend(self, part: bytes) -> None:
        """More of the block has come. Raises :class:`ConnectionFault` if it is too much."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limits.head or len(self._parts) > 1 + _MAX_CONTINUATIONS:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block without end")

    def complete(self) -> bytes:
        """The block that was begun, which is whole now."""
        block = b"".join(self._parts)
        self._parts.clear()
        self.stream = 0
        return block

    def decode(self, block: bytes) -> tuple[list[Field], int]:
        """The fields of a whole block, and their size; see Decoder.decode. Raises :class:`ConnectionFault`."""
        try:
            return self._decoder.decode(block, self._limits.head)
        except CompressionError as error:
            raise ConnectionFault(COMPRESSION_ERROR, str(error)) from None
        except HeaderBomb:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a head of many times the size allowed") from None

    def read(self, block: bytes, fields: list[Field], size: int) -> Request:
        """The request of the block that was decoded last, to ``fields`` of ``size`` bytes. Raises StreamFault, BadRequest."""
        request = self._lane.read(fields, size)
        if len(block) <= _LONGEST_REMEMBERED and not self._decoder.changed:
            remember(self.known, block, request, min(_MOST_REMEMBERED, _MOST_FIELDS // max(1, len(fields))))
        return request

    def clear(self) -> None:
        """Keep nothing."""
        self.complete()
        self.known.clear()
        self._lane.clear()
