"""HTTP/1.1's stream: it turns an exchange's messages into a response on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from ..asgi import Field
from ..context import Phase as ServicePhase
from ..delivery import Sender
from ..departure import has_closed
from ..request import RequestHead
from ..sendfile import File
from ..stream import Room, length_mismatch
from ..writer import Writer
from .response import Framing, encode, encode_lines, plain, reason
from .shared import Http1

LENGTH, CHUNKED, CLOSE, EMPTY = Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE, Framing.EMPTY
SERVING = ServicePhase.SERVING
_MAX_COPIED = 32 * 1024
"""Bytes of a body; a larger one is not copied behind the response's head, but written beside it."""


class Owner(Sender, Protocol):
    """A stream's connection, as the stream knows it."""

    def answered(self, keep_alive: bool) -> None:
        """The response is complete, and is the connection's last unless ``keep_alive``."""

    def consumed(self) -> None:
        """The application has taken what was buffered of the request's body."""

    def await_body(self) -> None:
        """From now on it is the client's turn to send the request's body."""

    def break_off(self, ends_body: bool) -> None:
        """The response can't be completed. ``ends_body``: only the connection's end says where the body ends."""


class Http1Stream:
    """The one stream of an HTTP/1.1 connection, used for one request after another (see stream.Stream).

    - *Where the body ends* (RFC 9112 section 6.3): Content-Length if the size is known, else chunks; with HTTP/1.0 the
      connection's end. What the application sends is counted against a Content-Length. Chunks are the writer's frames: what
      leaves together is one chunk, whatever messages it came in, since proxies draw chunks anew and framing each message would
      cost a stream a tenth of its CPU time. So the stream is a source of the writer's frames.
    - *Whether the connection persists*: only if client, response and worker let it; never while the client may be waiting to be
      asked for the body, since then it is not known whether it is going to send it.
    - ``Expect: 100-continue`` is answered when the application asks for the body, and not before.
    """

    __slots__ = (
        *("_body", "_chunk", "_chunk_size", "_connection", "_file", "_heads", "_keep_alive", "_length", "_service", "_writer"),
        *("body_sent", "client", "request", "withheld"),
    )

    def __init__(self, http1: Http1, writer: Writer, connection: Owner) -> None:
        self._service = http1.service
        self._heads = http1.heads
        self._writer = writer
        self._connection = connection
        # The connection sets these three for each request; a call would be 1 % of it.
        self.request = _NONE
        self.client = ""
        self.body_sent = 0
        """Bytes of the body sent, except in a chunk that is being collected, and from a file."""
        self.withheld = False
        """The client may be waiting to be asked for the body (Expect: 100-continue)."""
        self._body: Framing | None = None
        """How the client knows where the response's body ends; None until its head is sent, and when it is complete."""
        self._length = 0
        """With LENGTH: the bytes that the body must have."""
        self._chunk: list[bytes] | None = None
        """The chunk that is being collected: a place for its size, and its pieces. It leaves when the writer flushes."""
        self._chunk_size = 0
        """Bytes of them."""
        self._file: File | None = None
        """What goes out as the body."""
        self._keep_alive = False

    # What the connection asks.

    @property
    def has_head(self) -> bool:
        """Whether the response's head is sent: another can't be sent in its place."""
        return self._body is not None

    @property
    def sends_file(self) -> bool:
        """Whether a file is going out."""
        return self._file is not None

    # What the exchange calls.

    @property
    def sent(self) -> int:
        if self._file is not None:
            return self._file.sent
        return self.body_sent if self._chunk is None else self.body_sent + self._chunk_size

    def send_whole(self, status: int, headers: Iterable[Field], body: bytes) -> Room:
        service, writer = self._service, self._writer
        if writer.room is not None:
            return writer.room
        size = len(body)
        persists = service.phase is SERVING and not self.withheld
        head, kind, length, keep_alive = encode(self.request, status, headers, self._heads, size, persists)
        if kind is not LENGTH:
            body, length = b"", 0
        elif size != length:
            raise length_mismatch(size, length, False)
        self.body_sent = length
        if length < _MAX_COPIED and not writer.corked:
            # As write_last would, but without a call in the case that comes most often.
            data = head + body
            if not writer.transport.is_closing():
                service.meters.sent += len(data)
                writer.transport.write(data)
        else:
            writer.hold(head)
            writer.write_last(body)
        self._connection.answered(keep_alive)
        return None

    def send_head(self, status: int, headers: Iterable[Field], body: bytes, size: int | None = None) -> Room:
        service, writer = self._service, self._writer
        persists = service.phase is SERVING and not self.withheld
        head, kind, length, self._keep_alive = encode(self.request, status, headers, self._heads, size, persists)
        if kind is LENGTH:
            if size != length and (size is not None or len(body) > length):
                raise length_mismatch(len(body) if size is None else size, length, size is None)
        elif kind is EMPTY:
            body, length = b"", 0
        self._body, self._length = kind, length
        if kind is CHUNKED and body:
            writer.hold(head)
            return self.send_body(body)
        if not body:
            # A head alone: the first part of the body behind it is not to be collected.
            writer.write_last(head)
        elif len(body) < _MAX_COPIED:
            self.body_sent = len(body)
            writer.write(head + body)
        else:
            self.body_sent = len(body)
            writer.hold(head)
            writer.write(body)
        return writer.room

    def send_body(self, body: bytes) -> Room:
        chunk, writer = self._chunk, self._writer
        if chunk is not None:
            # The case that comes most often in a stream.
            chunk.append(body)
            self._chunk_size = size = self._chunk_size + len(body)
            if (now := monotonic()) > writer.due:
                writer.leave(now)
            elif size >= writer.limit:
                writer.flush_early()
        elif body and self._body is CHUNKED:
            size = len(body)
            if not writer.corked and size < _MAX_COPIED and (now := monotonic()) > writer.due and writer.can_leave(now):
                # A chunk that nothing is going to be added to, in fewer steps: an eighth of what an event takes.
                self.body_sent += size
                writer.write(b"%x\r\n%b\r\n" % (size, body))
            else:
                self._chunk, self._chunk_size = [b"", body], size
                writer.begin_frame(self)
        elif body and self._body is not EMPTY:
            sent = self.sent + len(body)
            if self._body is LENGTH and sent > self._length:
                raise length_mismatch(sent, self._length, True)
            self.body_sent = sent
            writer.write(body)
        return writer.room

    def end_body(self, body: bytes) -> None:
        if self._body is CHUNKED:
            self.body_sent += len(body)
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif self._body is EMPTY:
            body = b""
        else:
            sent = self.sent + len(body)
            if self._body is LENGTH and sent != self._length:
                raise length_mismatch(sent, self._length, False)
            self.body_sent = sent
        self._end(body)

    def end_frame(self) -> tuple[list[bytes], int]:
        """The chunk (RFC 9112 section 7.1)."""
        chunk, size = self._chunk or [b""], self._chunk_size
        chunk[0] = head = b"%x\r\n" % size
        chunk.append(b"\r\n")
        self.body_sent += size
        self._chunk = None
        return chunk, len(head) + size + 2

    async def send_file(self, file: File) -> None:
        if self._body is EMPTY:
            return
        self._file = file
        self._service.deliveries.watch(self._connection)
        await self._writer.send_file(file)
        self.body_sent, self._file = file.sent, None

    def send_trailers(self, headers: Iterable[Field]) -> None:
        lines = encode_lines(headers)
        if self._body is CHUNKED:
            coding = b",".join(value for name, value in self.request.headers if name == b"te").lower()
            if b"trailers" not in [item.strip(b" \t") for item in coding.split(b",")]:
                lines = []
            self._end(b"0\r\n%b\r\n" % b"".join(lines))
        else:
            self.end_body(b"")

    def end(self) -> None:
        """As Stream's; the connection closes."""
        self._keep_alive = False
        self.end_body(b"")

    def send_interim(self, status: int, headers: Iterable[Field]) -> None:
        # HTTP/1.0 has none.
        if self.request.terms.version == "1.1":
            line = b"HTTP/1.1 %d %b\r\n" % (status, reason(status).encode("ascii"))
            self._writer.write(b"%b%b\r\n" % (line, b"".join(encode_lines(headers))))

    def refuse(self, status: int, text: str, extra: bytes = b"") -> None:
        """As Stream's; ``extra``: further header lines."""
        with_body = self.request.method != "HEAD"
        data = plain(status, text, self._heads, extra=extra, with_body=with_body)
        self.body_sent = len(text.encode("utf-8", "replace")) if with_body else 0
        self._keep_alive = False
        self._end(data)

    def want_body(self) -> None:
        # Behind the response's head it would be taken for a part of the body.
        if self.withheld and self._body is None:
            self.withheld = False
            self._writer.write_last(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._connection.await_body()

    def owes(self) -> bool:
        return self._writer.transport.get_write_buffer_size() > 0

    def when_delivered(self, end: Callable[[int], None]) -> None:
        self._service.deliveries.tell(self._connection, end)

    def has_closed(self) -> bool:
        return has_closed(self._writer.transport)

    def consumed(self, size: int) -> None:
        self._connection.consumed()

    def reset(self) -> None:
        self._connection.break_off(self._body is CLOSE)

    def _end(self, data: bytes) -> None:
        """The response is complete with ``data``."""
        self._body = None
        self._writer.write_last(data)
        self._connection.answered(self._keep_alive)


_NONE = RequestHead("", b"", ("", b"", b""), ())
