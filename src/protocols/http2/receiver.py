"""The reading half of a connection: from bytes to requests, bodies and the other frames of a client, without I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from ...errors import BadRequest
from ..asgi import Field
from ..limits import Limits
from . import frames
from .blocks import HeaderBlocks
from .calm import TURN, Calm
from .frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADERS,
    PADDED,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    ConnectionFault,
    StreamFault,
)
from .head import Request, check_trailers, parse_urgency

_unpack = frames.HEAD.unpack_from
_WHOLE = END_STREAM | END_HEADERS
_FIRST_SIZE = 9 + len(frames.PREFACE)
_FIELD_COST = 2
_BYTES_A_POINT = 16
"""What a header block costs its turn for each field, and for its bytes: Huffman's code takes the longest."""
_FAULT_COST = 4.0
"""Points (see calm.py) for a request that the client takes back after the application has begun, and for a malformed one."""


class Owner(Protocol):
    """What a receiver tells its connection. Requests, bodies, windows and settings may raise StreamFault or ConnectionFault."""

    def begin(self, stream: int, request: Request, end: bool) -> None:
        """A request; ``end``: it has no body."""

    def reject(self, stream: int, error: BadRequest, end: bool, method: str) -> None:
        """A request that gets an error for an answer."""

    def take_data(self, stream: int, data: bytes, size: int, end: bool) -> None:
        """A part of a request's body; ``size``: what it counts for flow control."""

    def check_open(self, stream: int) -> bool:
        """Trailers have come: returns whether they are wanted."""

    def end_body(self, stream: int) -> None:
        """Trailers have ended the body."""

    def widen(self, stream: int, size: int) -> None:
        """So many bytes more may be sent, on a stream or (0) in all."""

    def configure(self, values: list[tuple[int, int]]) -> None:
        """SETTINGS; the values are within their bounds."""

    def lost(self, stream: int) -> None:
        """The client has reset a stream."""

    def prioritize(self, stream: int, urgency: int) -> None:
        """The client says how urgent a stream is, perhaps before it opens it."""

    def answer(self, frame: bytes) -> None:
        """Send a frame of control."""

    def pong(self, payload: bytes) -> None:
        """The client has answered a PING."""

    def leaving(self) -> None:
        """The client will send no more requests."""

    def fail(self, stream: int, fault: StreamFault) -> None:
        """Reset a stream."""


class Receiver:
    """Cuts one connection's bytes into frames, checks them and tells the owner of them in order (RFC 9113 sections 4 to 6).

    - *Bounds.* Of an incomplete frame no more is kept than a frame may have, and of a header block than a head may have (see
      blocks.py). A frame that advances no request costs points (see calm.py).
    - *Faults* of a stream are told to the owner; those of the connection are raised, and nothing is read afterwards.
    """

    __slots__ = ("_blocks", "_buffer", "_missing", "_owner", "_started", "calm", "is_over", "last")

    def __init__(self, owner: Owner, limits: Limits, calm: Calm) -> None:
        self._owner = owner
        self.calm = calm
        self._blocks = HeaderBlocks(limits)
        self._buffer: list[bytes] = []
        """What has come of a frame that is not whole."""
        self._missing = _FIRST_SIZE
        """Bytes that have to come before there is something to do."""
        self._started = False
        """The preface has come, and SETTINGS behind it."""
        self.last = 0
        """The last stream that the client has opened."""
        self.is_over = False
        """Set to read nothing any more."""

    @property
    def is_amid_head(self) -> bool:
        """Whether a header block has begun that is not complete: until its end nothing else may come."""
        return self._blocks.stream > 0

    @property
    def is_behind(self) -> bool:
        """Whether whole frames wait to be read in another turn of the loop: take nothing more, and call :meth:`take` again."""
        return bool(self._buffer) and self._missing <= 0

    def take(self, data: bytes) -> None:
        """Read what has come, and what is left of before. Raises :class:`ConnectionFault`."""
        if self._buffer or not self._started:
            self._buffer.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                if not self._started:
                    self._check_preface(b"".join(self._buffer))
                return
            data = b"".join(self._buffer)
            self._buffer.clear()
            if not self._started:
                data = self._begin(data)
        at, end, blocks, calm = 0, len(data), self._blocks, self.calm
        calm.left = TURN
        while at + 9 <= end and not self.is_over and calm.left > 0:
            first, flags, stream = _unpack(data, at)
            at += 9
            stop = at + (first >> 8)
            if stop - at > frames.DEFAULT_FRAME:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a frame is larger than we allow")
            if stop > end:
                at -= 9
                break
            if (
                first & 0xFF == HEADERS
                and flags == _WHOLE
                and (found := blocks.known.get(data[at:stop])) is not None
                and stream > self.last
                and stream & 0x80000001 == 1
                and not blocks.stream
            ):
                self.last = stream
                try:
                    self._owner.begin(stream, found, True)
                except StreamFault as fault:
                    self._fail(stream, fault)
            else:
                calm.left -= 1
                self._handle(first & 0xFF, flags, stream & frames.MAX_STREAM_ID, data[at:stop])
            at = stop
        if at < end and not self.is_over:
            rest = data[at:]
            self._buffer.append(rest)
            self._missing = (9 + (_unpack(rest)[0] >> 8) if len(rest) >= 9 else 9) - len(rest)

    def clear(self) -> None:
        """Keep nothing, and read nothing any more."""
        self.is_over = True
        self._buffer.clear()
        self._blocks.clear()

    def lose(self) -> None:
        """The connection is lost, and gives no more to read: let go of it."""
        self.clear()
        del self._owner

    def _check_preface(self, data: bytes) -> None:
        size = min(len(data), len(frames.PREFACE))
        if data[:size] != frames.PREFACE[:size]:
            raise ConnectionFault(PROTOCOL_ERROR, "no preface of HTTP/2")

    def _begin(self, data: bytes) -> bytes:
        """Check how the connection begins: the preface, then SETTINGS that are no acknowledgement (section 3.4)."""
        self._check_preface(data)
        data = data[len(frames.PREFACE) :]
        first, flags, _ = _unpack(data)
        if first & 0xFF != frames.SETTINGS or flags & frames.ACK:
            raise ConnectionFault(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        self._started = True
        return data

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._blocks.stream and (kind != CONTINUATION or stream != self._blocks.stream):
            raise ConnectionFault(PROTOCOL_ERROR, "a frame amid a header block")
        handler = _HANDLERS.get(kind)
        try:
            if handler is not None:
                handler(self, flags, stream, payload)
            else:
                # Section 5.5: frames of unknown types are ignored.
                self.calm.spend()
        except StreamFault as fault:
            self._fail(stream, fault)

    def _fail(self, stream: int, fault: StreamFault) -> None:
        # A client may well ask for more at once than it may, before it has read how much that is.
        self.calm.spend(1 if fault.code == REFUSED_STREAM else _FAULT_COST)
        self._owner.fail(stream, fault)

    # Requests.

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if stream & 1 == 0:
            raise ConnectionFault(PROTOCOL_ERROR, "HEADERS on a stream that no client may open")
        if flags & PADDED:
            payload = _unpad(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS too short for a priority")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._head(stream, payload, flags & END_STREAM > 0)
            return
        self._blocks.begin(stream, flags, payload)

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        blocks = self._blocks
        if not blocks.stream:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        if not payload:
            self.calm.spend()
        blocks.extend(payload)
        if flags & END_HEADERS:
            self._head(stream, blocks.complete(), blocks.flags & END_STREAM > 0)

    def _head(self, stream: int, block: bytes, end: bool) -> None:
        """A whole header block. It is decoded whatever becomes of it: it may change the table."""
        if stream <= self.last:
            fields, _ = self._decode(block)
            if self._owner.check_open(stream):
                if not end:
                    raise StreamFault(PROTOCOL_ERROR, "trailers that don't end their stream")
                check_trailers(fields)
                self._owner.end_body(stream)
            return
        self.last = stream
        request = self._blocks.known.get(block)
        if request is None:
            fields, size = self._decode(block)
            try:
                request = self._blocks.read(block, fields, size)
            except BadRequest as error:
                # The answer to it brings some of the points back.
                self.calm.spend(2 * _FAULT_COST + len(fields) / 10)
                is_head = (b":method", b"HEAD") in fields
                self._owner.reject(stream, error, end, "HEAD" if is_head else "GET")
                return
        self._owner.begin(stream, request, end)

    def _decode(self, block: bytes) -> tuple[list[Field], int]:
        fields, size = self._blocks.decode(block)
        self.calm.left -= len(fields) * _FIELD_COST + len(block) // _BYTES_A_POINT
        return fields, size

    # Bodies.

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        if stream > self.last or not stream & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "DATA on a stream that is not open")
        size = len(payload)
        if flags & PADDED:
            payload = _unpad(payload)
        if not payload and not flags & END_STREAM:
            self.calm.spend()
        self._owner.take_data(stream, payload, size, flags & END_STREAM > 0)

    def _rst_stream(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
        if stream > self.last or not stream & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")
        self.calm.spend(_FAULT_COST)
        self._owner.lost(stream)

    # What concerns the connection.

    def _window_update(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        if stream > self.last or (stream and not stream & 1):
            raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is not open")
        self.calm.spend()
        size = frames.NUMBER.unpack(payload)[0] & frames.MAX_WINDOW
        if size == 0:
            if stream == 0:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            raise StreamFault(PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        self._owner.widen(stream, size)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS acknowledged with values")
            self.calm.spend()
            return
        if len(payload) % 6:
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS are not 6 bytes each")
        # Each value may touch each stream.
        self.calm.spend(1 + len(payload) // 60)
        values = [*struct.iter_unpack(">HI", payload)]
        for name, value in values:
            _check_setting(name, value)
        self._owner.configure(values)
        self._owner.answer(frames.SETTINGS_ACK)

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0:
            raise ConnectionFault(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PING is not 8 bytes")
        self.calm.spend()
        if flags & frames.ACK:
            self._owner.pong(payload)
        else:
            self._owner.answer(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _goaway(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0:
            raise ConnectionFault(PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
        self.calm.spend()
        self._owner.leaving()

    def _priority(self, flags: int, stream: int, payload: bytes) -> None:
        """RFC 7540's: it is checked and ignored (RFC 9113 section 5.3.2)."""
        if stream == 0:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY without a stream")
        self.calm.spend()
        if len(payload) != 5:
            # A stream that is not open can't be reset (section 6.4).
            fault = StreamFault if stream <= self.last and stream & 1 else ConnectionFault
            raise fault(FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")

    def _priority_update(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE on a stream")
        if len(payload) < 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "PRIORITY_UPDATE is shorter than 4 bytes")
        self.calm.spend()
        about = frames.NUMBER.unpack_from(payload)[0] & frames.MAX_STREAM_ID
        if about & 1 == 0:
            raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY_UPDATE of a stream that no client opens")
        if (urgency := parse_urgency(payload[4:])) is not None:
            self._owner.prioritize(about, urgency)

    def _push_promise(self, flags: int, stream: int, payload: bytes) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "PUSH_PROMISE from a client")


def _unpad(payload: bytes) -> bytes:
    """What stands before the padding (section 6.1)."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "the padding is as long as the frame")
    return payload[1 : len(payload) - payload[0]]


def _check_setting(name: int, value: int) -> None:
    """Section 6.5.2; RFC 8441 section 3; RFC 9218 section 2.1."""
    if name in (frames.ENABLE_PUSH, frames.ENABLE_CONNECT_PROTOCOL, frames.NO_RFC7540_PRIORITIES) and value > 1:
        raise ConnectionFault(PROTOCOL_ERROR, "a setting that is a switch is neither 0 nor 1")
    if name == frames.INITIAL_WINDOW_SIZE and value > frames.MAX_WINDOW:
        raise ConnectionFault(FLOW_CONTROL_ERROR, "the initial window is too large")
    if name == frames.MAX_FRAME_SIZE and not frames.DEFAULT_FRAME <= value <= frames.LARGEST_FRAME:
        raise ConnectionFault(PROTOCOL_ERROR, "the largest frame is out of bounds")


_HANDLERS: dict[int, Callable[[Receiver, int, int, bytes], None]] = {
    frames.DATA: Receiver._data,
    frames.HEADERS: Receiver._headers,
    frames.PRIORITY: Receiver._priority,
    frames.RST_STREAM: Receiver._rst_stream,
    frames.SETTINGS: Receiver._settings,
    frames.PUSH_PROMISE: Receiver._push_promise,
    frames.PING: Receiver._ping,
    frames.GOAWAY: Receiver._goaway,
    frames.WINDOW_UPDATE: Receiver._window_update,
    frames.CONTINUATION: Receiver._continuation,
    frames.PRIORITY_UPDATE: Receiver._priority_update,
}
