"""The client's side of a WebSocket for tests: frames as bytes, and a session over a connection without sockets."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from support.wire import App, Wire
from tricorn.protocols.websocket.connection import upgrade
from tricorn.protocols.websocket.settings import Settings

KEY = base64.b64encode(b"0123456789abcdef")
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
Frame = tuple[int, bytes]
"""First byte and payload."""


def mask(payload: bytes, key: bytes = b"\x11\x22\x33\x44") -> bytes:
    return bytes(byte ^ known for byte, known in zip(payload, itertools.cycle(key), strict=False))


def client_frame(first: int, payload: bytes = b"", key: bytes = b"\x11\x22\x33\x44") -> bytes:
    """A masked frame, its length in as few bytes as possible (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((first,)) + length + key + mask(payload, key)


def client_close(code: int, reason: str = "") -> bytes:
    return client_frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def server_frames(data: bytes) -> Iterator[Frame]:
    """The frames that the server has sent; asserts that they are whole, unmasked and of minimal length."""
    while data:
        size, begin = data[1], 2
        if size == 126:
            size, begin = int.from_bytes(data[2:4], "big"), 4
            assert size > 125
        elif size == 127:
            size, begin = int.from_bytes(data[2:10], "big"), 10
            assert size > 65535
        assert len(data) >= begin + size, f"a frame is cut off: {data[:20]!r}"
        yield data[0], data[begin : begin + size]
        data = data[begin + size :]


def request(path: str = "/", *headers: str, method: str = "GET", version: str = "13") -> bytes:
    """An opening handshake (RFC 6455 section 4.1)."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: test",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Peer(Wire):
    """A client of one WebSocket; what the server writes is split into the handshake's answer and frames."""

    def __init__(self, app: App, settings: Settings | None = None, **options: Any) -> None:
        self.log: list[str] = []
        super().__init__(app, **options)
        chosen = settings or Settings(access=self.log.append)
        self.service.websocket = upgrade(self.http1, chosen)

    async def open(self, *headers: str, path: str = "/", behind: bytes = b"") -> None:
        """Send the handshake, and ``behind`` in the same breath."""
        await self.feed(request(path, *headers) + behind)
        await self.settle()

    async def say(self, *pieces: bytes) -> None:
        """Feed, whole frames or not, and let all happen that follows."""
        await self.feed(*pieces)
        await self.settle()

    @property
    def head(self) -> bytes:
        return self.output.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def frames(self) -> Sequence[Frame]:
        return list(server_frames(self.output.partition(b"\r\n\r\n")[2]))
