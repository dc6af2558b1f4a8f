"""A stream as a transport: what WebSocket speaks on over HTTP/2 (RFC 8441)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ..context import Service
from .flow import Output
from .hpack import encode_field
from .response import ResponseHeads
from .stream import Http2Stream

STREAM = "http_stream"
"""The name by which websocket/connection.py gets the stream (get_extra_info), to refuse the handshake on it."""


class Tunnel(asyncio.Transport):
    """Bytes both ways on one stream, once it is accepted. To its protocol it is a transport like any other.

    The handshake's answer is written as HTTP/1.1 has it and translated here: 101 becomes 200, and headers of a
    connection are left out (RFC 8441 section 5). So WebSocket needs no second handshake.

    The stream has it in place of an exchange: the connection calls :meth:`feed` and the methods below it.
    """

    is_event_stream = False
    status = 0

    def __init__(
        self, service: Service, output: Output, heads: ResponseHeads, stream: Http2Stream, extra: dict[str, Any]
    ) -> None:
        """``extra``: values for get_extra_info."""
        super().__init__(extra | {STREAM: stream})
        self._service = service
        self._output = output
        self._heads = heads
        self._stream: Http2Stream | None = stream
        """None when it has ended."""
        self._protocol: asyncio.Protocol | None = None
        self._is_accepted = False
        self._is_closing = False
        self._is_paused = False
        self._held: list[bytes] = []
        """What has come while the protocol did not read."""
        self._has_end = False
        """The client sends no more."""
        self._high = service.limits.buffer
        self._is_full = False

    # What the protocol calls.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        stream, data = self._stream, bytes(data)
        if stream is None or self._is_closing:
            return
        if not self._is_accepted:
            self._is_accepted = True
            head, _, data = data.partition(b"\r\n\r\n")
            _, _, lines = head.partition(b"\r\n")
            self._output.send_head(stream, encode_field(b":status", b"200") + self._heads.lines(lines), False)
        if data:
            self._output.send(stream, b"", data, False)
            self._regulate(stream)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = self._service.limits.buffer if high is None else high

    def get_write_buffer_size(self) -> int:
        return self._stream.waiting if self._stream is not None else 0

    def can_write_eof(self) -> bool:
        """The end of our data ends the whole stream, so there is no end of one half."""
        return False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if self._stream is not None:
                self._output.send(self._stream, b"", b"", True)

    def abort(self) -> None:
        self._is_closing = True
        if self._stream is not None:
            self._stream.reset()

    def is_reading(self) -> bool:
        return not self._is_paused

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._service.loop.call_soon(self._deliver)

    def _regulate(self, stream: Http2Stream) -> None:
        """Let the protocol wait if more waits for the client than may, until nothing does."""
        if stream.waiting > self._high and not self._is_full and self._protocol is not None:
            self._is_full = True
            room = stream.room()
            self._protocol.pause_writing()
            if room is not None:
                room.add_done_callback(self._go_on)

    def _go_on(self, room: asyncio.Future[None]) -> None:
        self._is_full = False
        if self._protocol is not None:
            self._protocol.resume_writing()

    def _deliver(self) -> None:
        """Hand over what has come, and give it back to the client's window."""
        while self._held and not self._is_paused and self._protocol is not None:
            data = self._held.pop(0)
            self._protocol.data_received(data)
            if self._stream is not None:
                self._stream.consumed(len(data))
        if self._has_end and not self._held and self._protocol is not None and not self._protocol.eof_received():
            self._has_end = False
            self.close()

    # What the connection calls, as of an exchange.

    @property
    def buffered(self) -> int:
        """Bytes that wait for the protocol."""
        return sum(map(len, self._held))

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        self._held.append(data)
        self._deliver()

    def feed_end(self) -> None:
        """The client sends no more."""
        self._has_end = True
        self._deliver()

    def disconnect(self, status: int = 0) -> None:
        """Nothing can be sent any more: the stream has ended, one way or another."""
        self._stream = None
        self._is_closing = True
        if self._protocol is not None:
            self._service.loop.call_soon(self._protocol.connection_lost, None)
            self._protocol = None

    def end_stream(self) -> None:
        """Never called: this is no event stream."""
