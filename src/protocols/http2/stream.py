"""HTTP/2's stream: it turns an exchange's messages into frames (see protocols/stream.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from ..asgi import ClientDisconnected, Field
from ..context import Service
from ..http1.response import Framing, encode, encode_lines, plain
from ..request import RequestHead
from ..sendfile import File, in_thread
from ..stream import Room, length_mismatch
from .flow import Output, Sending
from .hpack import encode_field
from .response import BARE, ResponseHeads

LENGTH, EMPTY = Framing.LENGTH, Framing.EMPTY
_SMALL = 1024
"""Bytes of a body's piece below which the next one is joined to it while the application takes none. Alone each would take 50
bytes more, which is many times its own size if the client makes them small."""
_AS_GET = RequestHead("GET", b"/", ("/", b"/", b""), ())
_AS_HEAD = RequestHead("HEAD", b"/", ("/", b"/", b""), ())
"""What the rules for response heads are told of the request: to them all requests of HTTP/2 are alike."""


class Owner(Protocol):
    """What a stream needs of its connection."""

    def has_closed(self) -> bool:
        """Whether the client has closed its side of the connection."""

    def owes(self) -> bool:
        """Whether something written waits with us for the client."""

    def tell(self, end: Callable[[int], None]) -> None:
        """Call ``end`` when all that was written is delivered."""

    def give_back(self, stream: Http2Stream) -> None:
        """The application has taken some of the request's body: let the client send as much."""

    def break_off(self, stream: Http2Stream) -> None:
        """The response can't be completed."""

    def await_body(self, stream: Http2Stream) -> None:
        """From now on it is the client's turn to send the request's body."""


class Taker(Protocol):
    """What takes a stream's request: an exchange, or a tunnel."""

    status: int

    @property
    def buffered(self) -> int:
        """Bytes of the request's body that wait to be taken."""

    @property
    def is_event_stream(self) -> bool:
        """As Exchange's, like the methods."""

    def feed(self, data: bytes) -> None:
        """A part of the request's body."""

    def feed_end(self) -> None:
        """Its end."""

    def disconnect(self, status: int = ...) -> None:
        """Nothing can be sent any more."""

    def end_stream(self) -> None:
        """End an event stream."""


class Http2Stream(Sending):
    """One stream of a connection, with its request and response.

    Where a body ends is told by its last frame, so there are no chunks. What the application sends is counted against a
    Content-Length all the same: a client that finds another number takes the response for malformed (RFC 9113 section 8.1.1).
    """

    __slots__ = (
        *("_connection", "_heads", "_kind", "_length", "_output", "_request", "_sent", "_service", "_told"),
        *("awaited", "body_ended", "body_until", "client", "credit", "exchange", "expected"),
        *("_small", "is_tunnel", "received", "withheld"),
    )

    def __init__(
        self,
        connection: Owner,
        service: Service,
        output: Output,
        heads: ResponseHeads,
        number: int,
        request: RequestHead,
        client: str,
        urgency: int,
    ) -> None:
        super().__init__(number, output.initial, urgency)
        self._connection = connection
        self._service = service
        self._output = output
        self._heads = heads
        self._request = request
        self.client = client
        self.exchange: Taker | None = None
        """What answers the request; None when the response is complete."""
        self.is_tunnel = False
        """Another protocol is spoken on it, without limits of sizes and times."""
        self._kind: Framing | None = None
        """What is known of the response's body; None until the head is sent."""
        self._length = 0
        """With LENGTH: bytes that the body must have."""
        self._sent = 0
        self._told: Callable[[int], None] | None = None
        """To be called when the response is delivered."""
        # The request's body.
        self.body_ended = True
        self.expected: int | None = None
        """Bytes that Content-Length says it has."""
        self.received = 0
        self._small = b""
        """What has come of it in small pieces behind others, and is not handed over yet."""
        self.credit = 0
        """Bytes of it that the client may send."""
        self.awaited = 0
        """Bytes of it that the application has taken, and for which the client has got no credit yet."""
        self.body_until = 0.0
        """Until when more of it has to come, as of ``Service.now``."""
        self.withheld = False
        """The client may be waiting to be asked for it (Expect: 100-continue)."""

    @property
    def has_head(self) -> bool:
        """Whether the response's head is sent."""
        return self._kind is not None

    @property
    def sent(self) -> int:
        return self._sent

    def room(self) -> Room:
        """What to wait for before sending more."""
        return self._output.room(self)

    def send_whole(self, status: int, headers: Iterable[Field], body: bytes) -> Room:
        if (room := self._output.room(self)) is not None:
            return room
        self._send_head(status, headers, body, False, len(body))
        return None

    def send_head(self, status: int, headers: Iterable[Field], body: bytes, size: int | None = None) -> Room:
        self._send_head(status, headers, body, True, size)
        return self._output.room(self)

    def _send_head(self, status: int, headers: Iterable[Field], body: bytes, more: bool, size: int | None) -> None:
        shape = _AS_HEAD if self._request.method == "HEAD" else _AS_GET
        head, kind, length, _ = encode(shape, status, headers, BARE, size, True)
        if kind is LENGTH:
            if size != length and (size is not None or len(body) > length):
                raise length_mismatch(len(body) if size is None else size, length, size is None)
            self._length = length
        elif kind is EMPTY:
            body = b""
        self._kind = kind
        self._sent = len(body)
        block = self._heads.block(head)
        if body:
            self._output.send(self, block, body, not more)
        else:
            self._output.send_head(self, block, not more)

    def send_body(self, body: bytes) -> Room:
        if body and self._kind is not EMPTY:
            sent = self._sent + len(body)
            if self._kind is LENGTH and sent > self._length:
                raise length_mismatch(sent, self._length, True)
            self._sent = sent
            self._output.send(self, b"", body, False)
        return self._output.room(self)

    def end_body(self, body: bytes) -> None:
        if self._kind is EMPTY:
            body = b""
        else:
            sent = self._sent + len(body)
            if self._kind is LENGTH and sent != self._length:
                raise length_mismatch(sent, self._length, False)
            self._sent = sent
        self._output.send(self, b"", body, True)

    async def send_file(self, file: File) -> None:
        """As Stream's. The bytes go through our memory, a piece at a time: they have to be cut into frames."""
        if self._kind is EMPTY:
            return
        while file.sent < file.size:
            data = await in_thread(self._service.loop, file.read, file.sent)
            while (room := self.room()) is not None:
                await asyncio.shield(room)
            if self.exchange is None:
                raise ClientDisconnected("the client has disconnected")
            self._output.send(self, b"", data, False)
            file.sent += len(data)
            self._sent = file.sent

    def send_trailers(self, headers: Iterable[Field]) -> None:
        lines = encode_lines(headers)
        if lines and self._kind is not EMPTY:
            self._output.send_last(self, self._heads.lines(b"".join(lines)))
        else:
            self.end_body(b"")

    def end(self) -> None:
        self.end_body(b"")

    def send_interim(self, status: int, headers: Iterable[Field]) -> None:
        block = encode_field(b":status", b"%d" % status) + self._heads.lines(b"".join(encode_lines(headers)))
        self._output.send_head(self, block, False)

    def refuse(self, status: int, text: str, extra: bytes = b"") -> None:
        """As Stream's; ``extra``: further header lines."""
        data = plain(status, text, BARE, extra=extra, with_body=self._request.method != "HEAD")
        head, _, body = data.partition(b"\r\n\r\n")
        self._kind, self._sent = LENGTH, len(body)
        block = self._heads.block(head + b"\r\n\r\n")
        if body:
            self._output.send(self, block, body, True)
        else:
            self._output.send_head(self, block, True)

    def want_body(self) -> None:
        if self.withheld and self._kind is None:
            self.withheld = False
            self.send_interim(100, ())
            self._connection.await_body(self)

    def owes(self) -> bool:
        return self.waiting > 0 or self._connection.owes()

    def when_delivered(self, end: Callable[[int], None]) -> None:
        if self.waiting:
            self._told = end
        else:
            self._connection.tell(end)

    def has_closed(self) -> bool:
        return self._connection.has_closed()

    def consumed(self, size: int) -> None:
        self.awaited += size
        if self._small:
            self.feed(b"", True)
        if not self.body_ended:
            self._connection.give_back(self)

    def reset(self) -> None:
        self._connection.break_off(self)

    # What the connection calls.

    def feed(self, data: bytes, at_once: bool) -> None:
        """Hand over a part of the request's body; unless ``at_once``, small pieces are collected while others wait."""
        taker = self.exchange
        if taker is None:
            return
        if self._small or (len(data) < _SMALL and taker.buffered):
            data = self._small + data
            if len(data) < _SMALL and not at_once:
                self._small = data
                return
            self._small = b""
        if data:
            taker.feed(data)

    def complete(self) -> None:
        """The response's last frame has left."""
        exchange, self.exchange = self.exchange, None
        if self.is_tunnel and exchange is not None:
            exchange.disconnect()
        if self._told is not None:
            end, self._told = self._told, None
            self._connection.tell(end)

    def lose(self, status: int | None = None) -> Taker | None:
        """Nothing can be sent on the stream any more: tell the application. Returns the exchange, if it was not over.

        ``status``: for the access log; None if the client has left.
        """
        exchange, self.exchange = self.exchange, None
        missing = self.waiting
        self.drop()
        if self._told is not None:
            end, self._told = self._told, None
            end(missing)
        if exchange is not None:
            if status is None:
                exchange.disconnect()
            else:
                exchange.disconnect(status)
        return exchange
