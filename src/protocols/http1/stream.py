"""HTTP/1.1's stream: it turns an exchange's messages into a response on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from ...errors import AppError
from ..asgi import Field
from ..context import Phase as ServicePhase
from ..context import Service
from ..delivery import Sender
from ..request import RequestHead
from ..sendfile import File
from ..writer import Writer
from .response import Framing, encode, encode_lines, plain, reason

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
      cost a stream a tenth of its CPU time.
    - *Whether the connection persists*: only if client, response and worker let it; never while the client may be waiting to be
      asked for the body, since then nobody knows whether it is going to send it.
    - ``Expect: 100-continue`` is answered when the application asks for the body, and not before.
    """

    __slots__ = (
        *("_body", "_connection", "_file", "_is_last", "_keep_alive", "_length", "_request", "_sent", "_service", "_writer"),
        *("bursts", "client", "withheld"),
    )

    def __init__(self, service: Service, writer: Writer, connection: Owner, *, is_last: bool = False) -> None:
        """``is_last``: after the response the connection can't be used again, whatever it says."""
        self._service = service
        self._writer = writer
        self._connection = connection
        self._is_last = is_last
        self._request = _NONE
        self.client = ""
        self.bursts = False
        self.withheld = False
        """The client may be waiting to be asked for the body (Expect: 100-continue)."""
        self._body: Framing | None = None
        """How the client knows where the response's body ends; None until its head is sent."""
        self._length = 0
        """With LENGTH: the bytes that the body must have."""
        self._sent = 0
        """Bytes of the body sent, except from a file."""
        self._file: File | None = None
        """What goes out as the body."""
        self._keep_alive = False

    # Between connection and stream.

    def open(self, request: RequestHead, client: str) -> None:
        """A request begins; ``client``: for the access log."""
        self._request = request
        self.client = client
        self.bursts = self._writer.bursts
        self._body = None
        self._sent = 0

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
        return self._sent if self._file is None else self._file.sent

    def room(self) -> asyncio.Future[None] | None:
        return self._writer.room

    def begin_burst(self) -> None:
        self._writer.begin_burst()

    def send_head(self, status: int, headers: Iterable[Field], body: bytes, more: bool, size: int | None = None) -> None:
        service = self._service
        if not more:
            size = len(body)
        head, kind, length, keep_alive = encode(
            self._request,
            status,
            headers,
            service.defaults,
            size,
            service.phase is SERVING and not self.withheld and not self._is_last,
        )
        if kind is LENGTH:
            if size != length and (size is not None or len(body) > length):
                raise _mismatch(len(body) if size is None else size, length, size is None)
            self._length = length
            self._sent = len(body)
        elif kind is EMPTY:
            body = b""
        self._body = kind
        self._keep_alive = keep_alive
        if kind is CHUNKED and body:
            self._writer.hold(head)
            self.send_body(body, True)
            return
        if len(body) < _MAX_COPIED:
            data = head + body
        else:
            self._writer.hold(head)
            data = body
        if not more:
            self._writer.write_last(data)
            self._connection.answered(keep_alive)
        elif body:
            self._sent = len(body)
            self._writer.write(data)
        else:
            # A head alone: the first part of the body behind it is not to be collected.
            self._writer.write_last(data)

    def send_body(self, body: bytes, more: bool) -> None:
        kind = self._body
        if kind is CHUNKED:
            self._sent += len(body)
            if more:
                if body:
                    self._writer.write_framed(body, _chunk)
                return
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif kind is EMPTY:
            body = b""
        else:
            sent = self.sent + len(body)
            if kind is LENGTH and sent != self._length and (sent > self._length or not more):
                raise _mismatch(sent, self._length, more)
            self._sent = sent
        if not more:
            self._end(body)
        elif body:
            self._writer.write(body)

    async def send_file(self, file: File) -> None:
        if self._body is EMPTY:
            return
        self._file = file
        self._service.deliveries.watch(self._connection)
        await self._writer.send_file(file)
        self._sent, self._file = file.sent, None

    def send_trailers(self, headers: Iterable[Field]) -> None:
        lines = encode_lines(headers)
        if self._body is CHUNKED:
            coding = b",".join(value for name, value in self._request.headers if name == b"te").lower()
            if b"trailers" not in [item.strip(b" \t") for item in coding.split(b",")]:
                lines = []
            self._end(b"0\r\n%b\r\n" % b"".join(lines))
        else:
            self.send_body(b"", False)

    def end(self) -> None:
        """As Stream's; the connection closes."""
        self._keep_alive = False
        self.send_body(b"", False)

    def send_interim(self, status: int, headers: Iterable[Field]) -> None:
        # HTTP/1.0 has none.
        if self._request.terms.version == "1.1":
            line = b"HTTP/1.1 %d %b\r\n" % (status, reason(status).encode("ascii"))
            self._writer.write(b"%b%b\r\n" % (line, b"".join(encode_lines(headers))))

    def refuse(self, status: int, text: str, extra: bytes = b"") -> None:
        """As Stream's; ``extra``: further header lines."""
        with_body = self._request.method != "HEAD"
        data = plain(status, text, self._service.defaults, extra=extra, with_body=with_body)
        self._body, self._sent = LENGTH, len(text.encode("utf-8", "replace")) if with_body else 0
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

    def consumed(self, size: int) -> None:
        self._connection.consumed()

    def reset(self) -> None:
        self._connection.break_off(self._body is CLOSE)

    def _end(self, data: bytes) -> None:
        """The response is complete with ``data``."""
        self._writer.write_last(data)
        self._connection.answered(self._keep_alive)


_NONE = RequestHead("", b"", ("", b"", b""), ())


def _chunk(size: int) -> tuple[bytes, bytes]:
    """What stands before and behind a chunk of ``size`` bytes (RFC 9112 section 7.1)."""
    return b"%x\r\n" % size, b"\r\n"


def _mismatch(sent: int, length: int, more: bool) -> AppError:
    so_far = "so far " if more else ""
    return AppError(f"response body has {sent} bytes {so_far}where Content-Length says {length}")
