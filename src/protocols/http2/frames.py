"""HTTP/2's frames as numbers and bytes (RFC 9113 sections 4, 6 and 7), and the two kinds of faults."""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
"""RFC 9218 section 7.1."""

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB
INADEQUATE_SECURITY = 0xC

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8
"""RFC 8441 section 3."""
NO_RFC7540_PRIORITIES = 0x9
"""RFC 9218 section 2.1."""

DEFAULT_WINDOW = 65535
MAX_WINDOW = MAX_STREAM_ID = 0x7FFFFFFF
DEFAULT_FRAME = 16384
"""Bytes of a frame's payload that every peer takes; it is what we allow, too. A larger frame would let a low priority hold up a
high one for longer, and saves nothing: a frame costs us a microsecond."""
LARGEST_FRAME = 0xFFFFFF

HEAD = struct.Struct(">IBI")
"""A frame's head: its payload's bytes times 256 plus its type, its flags, its stream."""
NUMBER = struct.Struct(">I")
SETTING = struct.Struct(">HI")


class Fault(Exception):
    """The client has broken the protocol: the error code that it is told, and the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ConnectionFault(Fault):
    """One that ends the connection (section 5.4.1)."""


class StreamFault(Fault):
    """One that resets a stream (section 5.4.2)."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A whole frame; ``payload`` is no longer than the client takes."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def headers(stream: int, block: bytes, end: bool, largest: int = DEFAULT_FRAME) -> bytes:
    """A header block, in as many frames as it needs; ``end``: nothing follows on the stream."""
    flags = END_STREAM if end else 0
    if len(block) <= largest:
        return HEAD.pack(len(block) << 8 | HEADERS, flags | END_HEADERS, stream) + block
    parts = [frame(HEADERS, flags, stream, block[:largest])]
    for at in range(largest, len(block), largest):
        part = block[at : at + largest]
        parts.append(frame(CONTINUATION, END_HEADERS if at + largest >= len(block) else 0, stream, part))
    return b"".join(parts)


def settings(values: dict[int, int]) -> bytes:
    """SETTINGS (section 6.5): ``values`` by their numbers."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in values.items()))


SETTINGS_ACK = frame(SETTINGS, ACK, 0, b"")


def reset(stream: int, code: int) -> bytes:
    """RST_STREAM (section 6.4) with an error code."""
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def goaway(last: int, code: int, reason: str = "") -> bytes:
    """``last``: the last stream that was or may be processed."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + reason.encode("ascii", "replace"))


def window_update(stream: int, size: int) -> bytes:
    """``stream``: 0 for the whole connection."""
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(size))
