"""The reference reader: wsproto's frame parser, with bounds on message size and inflation, which it has not."""

from __future__ import annotations

import zlib
from collections.abc import Generator

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from . import fast, frames
from .bulk import Bulk
from .deflate import Agreement, Inflater, TooBig
from .frames import Event
from .pieces import Pieces

_CONTROL = 0x8


class _Guard(Extension):
    """As an extension it sees each frame's header and payload before wsproto does: it inflates, and it counts."""

    name = "guard"

    def __init__(self, max_size: int, inflater: Inflater | None) -> None:
        self._max_size = max_size
        self._inflater = inflater
        self._room = max_size
        """Bytes that the current message may still bring."""
        self._control = False
        self._compressed = False

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode >= _CONTROL
        if not self._control:
            if opcode is not Opcode.CONTINUATION:
                self._compressed = rsv.rsv1
            elif rsv.rsv1:
                return CloseReason.PROTOCOL_ERROR
            if payload_length > self._room and not self._compressed:
                return CloseReason.MESSAGE_TOO_BIG
        return RsvBits(self._inflater is not None and not self._control, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if self._control:
            return data
        if self._compressed and self._inflater is not None:
            try:
                data = self._inflater.feed(data, self._room)
            except TooBig:
                return CloseReason.MESSAGE_TOO_BIG
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._room -= len(data)
        return data

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        if self._control or not fin:
            return None
        rest = None
        if self._compressed and self._inflater is not None:
            try:
                rest = self._inflater.end(self._room)
            except TooBig:
                return CloseReason.MESSAGE_TOO_BIG
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._room = self._max_size
        return rest


_REASONS = {CloseReason.MESSAGE_TOO_BIG: "message too big", CloseReason.INVALID_FRAME_PAYLOAD_DATA: "invalid payload"}


class ReferenceReader:
    """A reader (see frames.py) that leaves all frames to wsproto."""

    def __init__(self, max_size: int, agreement: Agreement | None, inflater: Inflater | None = None) -> None:
        """``max_size``: bytes that a message may have, after inflation; ``inflater``: that of the fast lane before it."""
        if inflater is None and agreement is not None:
            inflater = Inflater(agreement)
        self._protocol = FrameProtocol(client=False, extensions=[_Guard(max_size, inflater)])
        self._pieces: Pieces | None = None
        """The pieces of the current message: wsproto gives all of it as str or all of it as bytes."""

    def take(self, data: bytes) -> None:
        self._protocol.receive_bytes(data)

    feed = take

    def next(self) -> Event | None:
        try:
            piece = next(self._protocol.received_frames(), None)
            if piece is not None:
                return self._event(piece.opcode, piece.payload, piece.frame_finished and piece.message_finished)
        except ParseFailed as error:
            return frames.Violation(int(error.code), _REASONS.get(error.code, str(error)))
        return None

    def _event(self, opcode: Opcode, payload: bytes | str | tuple[int, str], finished: bool) -> Event:
        if isinstance(payload, tuple):
            return frames.Close(int(payload[0]), payload[1])
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if self._pieces is None:
                if finished:
                    return payload
                self._pieces = Pieces(isinstance(payload, str))
            self._pieces.add(payload)
            if not finished:
                return frames.PART
            pieces, self._pieces = self._pieces, None
            return pieces.whole()
        assert isinstance(payload, bytes)
        return frames.Ping(payload) if opcode is Opcode.PING else frames.Pong(payload)

    def close(self) -> None:
        # A generator of its own method. Python 3.13.0 keeps what a closed one refers to, so it is replaced.
        self._protocol._parse_more = _no_frames()

    @property
    def idle(self) -> bool:
        """Whether the bytes fed end where a message ends, so that another reader may go on."""
        decoder = self._protocol._frame_decoder
        return decoder.header is None and not decoder.buffer and self._protocol._message_decoder.opcode is None


class FastReader:
    """The fast lane with the reference behind it, which is given every byte from the first frame on that is not plain."""

    reference: ReferenceReader | None = None
    """Made when it is first needed, because many clients send only plain frames."""

    def __init__(self, max_size: int, agreement: Agreement | None) -> None:
        self._max_size = max_size
        self._agreement = agreement
        self._inflater = Inflater(agreement) if agreement is not None else None
        self._data = b""
        self._at = 0
        """Up to here ``_data``, which is empty when all of it is, was read."""
        self._other: ReferenceReader | Bulk | None = None
        """What reads the next byte, if not the fast lane: the reference while it has bytes that are no events yet, or a bulk
        that lacks some."""

    def take(self, data: bytes) -> str | bytes | None:
        if not self._data and self._other is None:
            message = fast.whole(data, self._max_size)
            if message is not None:
                return message
        self.feed(data)
        return None

    def feed(self, data: bytes) -> None:
        if self._other is None or isinstance(self._other, Bulk):
            self._data = self._data[self._at :] + data
            self._at = 0
        else:
            self._other.feed(data)

    def next(self) -> Event | None:
        if self._other is None:
            data = self._data
            if not data:
                return None
            found = fast.read(data, self._at, self._max_size, self._inflater)
            if found is None:
                self._other = self._engage()
            else:
                event, self._at = found
                if self._at == len(data):
                    self._data = b""
                    self._at = 0
                # Isinstance takes ten times as long to say no.
                if type(event) is not Bulk:
                    return event
                self._other = event
        return self._next_of(self._other)

    def close(self) -> None:
        if self.reference is not None:
            self.reference.close()

    def _next_of(self, other: ReferenceReader | Bulk) -> Event | None:
        if isinstance(other, ReferenceReader):
            event = other.next()
            done = event is None and other.idle
        else:
            event, end = other.take(self._data, self._at)
            done = event is not None
            # What is behind the message is the fast lane's again.
            self._data = self._data[end:]
            self._at = 0
        if done:
            self._other = None
        return event

    def _engage(self) -> ReferenceReader:
        if self.reference is None:
            self.reference = ReferenceReader(self._max_size, self._agreement, self._inflater)
        self.reference.feed(self._data[self._at :])
        self._data = b""
        self._at = 0
        return self.reference


def _no_frames() -> Generator[Frame | None, None, None]:
    yield from ()
