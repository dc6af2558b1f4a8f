"""HTTP/2 by hand: frames as bytes, for what no library would send."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from support.wire import Wire
from tricorn.protocols.http2 import frames
from tricorn.protocols.http2.hpack import encode_field

GET = (("method", "GET"), ("scheme", "http"), ("path", "/"), ("authority", "a"))
BEGIN = frames.PREFACE + frames.settings({})


def block(*fields: tuple[str, str], pseudo: tuple[tuple[str, str], ...] = GET) -> bytes:
    """A header block; names of ``pseudo`` are without their colon."""
    named = [(f":{name}", value) for name, value in pseudo]
    return b"".join(encode_field(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*named, *fields])


def request(stream: int, *fields: tuple[str, str], end: bool = True, pseudo: tuple[tuple[str, str], ...] = GET) -> bytes:
    return frames.headers(stream, block(*fields, pseudo=pseudo), end)


def data(stream: int, payload: bytes = b"", end: bool = False) -> bytes:
    return frames.frame(frames.DATA, int(end), stream, payload)


@dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == frames.GOAWAY else 0
        return int(struct.unpack_from(">I", self.payload, at)[0])


def read_frames(output: bytes) -> list[Frame]:
    """What was written, cut into frames. Asserts that nothing is left over."""
    found, at = [], 0
    while at < len(output):
        first, flags, stream = frames.HEAD.unpack_from(output, at)
        at += 9
        found.append(Frame(first & 0xFF, flags, stream, output[at : at + (first >> 8)]))
        at += first >> 8
    assert at == len(output)
    return found


def outcome(wire: Wire) -> list[tuple[str, int, int]]:
    """What of ``wire``'s output ends something: ``("stream", number, code)`` and ``("connection", last stream, code)``."""
    found = []
    for frame in read_frames(wire.output):
        if frame.kind == frames.RST_STREAM:
            found.append(("stream", frame.stream, frame.code))
        elif frame.kind == frames.GOAWAY:
            found.append(("connection", struct.unpack_from(">I", frame.payload)[0], frame.code))
    return found


def statuses(wire: Wire) -> dict[int, str]:
    """The final status of each stream that was answered, by the encoding that this server uses."""
    from tricorn.protocols.http2.hpack import Decoder

    found, decoder = {}, Decoder()
    for frame in read_frames(wire.output):
        if frame.kind == frames.HEADERS:
            fields = dict(decoder.decode(frame.payload, 1 << 20)[0])
            if b":status" in fields and not fields[b":status"].startswith(b"1"):
                found[frame.stream] = fields[b":status"].decode("ascii")
    return found
