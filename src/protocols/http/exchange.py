"""One request and its response as ASGI sees them, written once for all codecs (ASGI HTTP specification 2.4).

The exchange knows no bytes of HTTP beside what response.py encodes for it, and no transport: it writes to its connection and is
told by it of body bytes and of the client's leaving.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from enum import Enum, auto

from ..asgi import AppError, ClientDisconnected, Message, Scope
from ..blame import report
from ..service import Phase as ServicePhase
from ..service import Service
from .codec import RequestHead
from .memory import remember
from .response import Framing, encode, encode_lines, plain
from .scope import EXTENSIONS, request_scope
from .wire import Wire


class Phase(Enum):
    """How far the response is."""

    EXPECTED = auto()
    """Nothing sent by the application yet."""
    STARTED = auto()
    """``http.response.start`` received and held back: the head goes out with the first body message."""
    STREAMING = auto()
    """The head is on the wire."""
    TRAILING = auto()
    """The body is on the wire, trailers are to follow."""
    COMPLETE = auto()


# Bound once: each look-up of an enumeration's member costs as much as a call, and a request makes twenty.
EXPECTED, STARTED, STREAMING, TRAILING, COMPLETE = Phase
LENGTH, CHUNKED, EMPTY = Framing.LENGTH, Framing.CHUNKED, Framing.EMPTY
SERVING = ServicePhase.SERVING
_MOST_COPIED = 32 * 1024
"""Bytes; what is larger is not copied behind the response's head, but written beside it."""
_size_lines: dict[int, bytes] = {}
"""The first lines of chunks (RFC 9112 section 7.1) by the bytes of their data: applications send the same few sizes."""
_MOST_SIZES = 1024


class Exchange:
    # Slots: attributes that fall back to the class would cost more at every reading.
    __slots__ = (
        "_asked",
        "_framing",
        "_headers",
        "_keep_alive",
        "_length",
        "_pieces",
        "_sent",
        "_service",
        "_task",
        "_told_end",
        "_trailers",
        "_waiter",
        "_wire",
        "body_complete",
        "buffered",
        "client_done",
        "disconnected",
        "phase",
        "request",
        "scope",
        "status",
    )

    _task: asyncio.Task[None]
    # Set when the response starts; nothing reads them before.
    status: int
    _headers: Iterable[tuple[bytes, bytes]]
    # Set when its head is encoded.
    _framing: Framing
    _length: int
    """With LENGTH: the bytes that the response's body must have."""
    _sent: int
    """Body bytes sent."""
    _keep_alive: bool

    def __init__(self, service: Service, wire: Wire, head: RequestHead, base: Scope) -> None:
        """``base``: the part of the scope that all requests of the connection share."""
        self._service = service
        self._wire = wire
        self.request = head
        self.scope = request_scope(service, base, head)
        self.phase = EXPECTED
        self.disconnected = False
        """The connection is gone: nothing can be sent."""
        self.client_done = False
        """The client sends no more (it is gone or half-closed): ``receive`` says http.disconnect."""
        self.body_complete = True
        self.buffered = 0
        self._pieces: list[bytes] | None = None
        """Body bytes waiting for ``receive``, ``buffered`` of them: adding them up for each that comes would be quadratic."""
        self._told_end = False
        """``receive`` has handed out the end of the body."""
        self._asked = False
        """The client was told to go on and send its body."""
        self._waiter: asyncio.Future[None] | None = None
        self._trailers: list[bytes] | None = None
        """Trailer lines to send, if the application has announced that there are going to be some."""

    # What the connection tells.

    def start(self) -> None:
        """Run the application."""
        self._service.works.add(self)
        self._task = self._service.make_task(self._run())

    def feed(self, data: bytes) -> None:
        """Body bytes have arrived."""
        if self.phase is COMPLETE:
            return
        if self._pieces is None:
            self._pieces = [data]
        else:
            self._pieces.append(data)
        self.buffered += len(data)
        self._wake()

    def feed_end(self) -> None:
        """The body is complete."""
        self.body_complete = True
        self._wake()

    def half_close(self) -> None:
        """The client sends no more, but may still read."""
        self.client_done = True
        self._wake()

    def disconnect(self) -> None:
        """The connection is gone."""
        self.disconnected = self.client_done = True
        self._wake()

    @property
    def withholds_body(self) -> bool:
        """The client may be waiting to be asked for its body."""
        return self.request.expect_continue and not self._asked

    def describe(self) -> str:
        return f"{self.request.method} {self.request.target.decode('ascii')}"

    def cancel(self) -> None:
        self._task.cancel()

    # The application's side.

    async def receive(self) -> Message:
        """``http.request`` with what has arrived of the body; ``http.disconnect`` once the client or the response is done."""
        while True:
            if self._pieces and self.phase is not COMPLETE:
                return self._take()
            if self.body_complete and not self._told_end and not self.disconnected and self.phase is not COMPLETE:
                self._told_end = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self.client_done or self.phase is COMPLETE:
                return {"type": "http.disconnect"}
            if self.withholds_body and self.phase in (EXPECTED, STARTED):
                # Only now, that the application wants the body, is the client asked for it (RFC 9110 section 10.1.1).
                self._asked = True
                if not self.body_complete:
                    self._wire.write_last(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._waiter is None:
                self._waiter = self._service.loop.create_future()
            await asyncio.shield(self._waiter)

    def _take(self) -> Message:
        assert self._pieces
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.buffered = 0
        self._told_end = self.body_complete
        self._wire.consumed()
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: Message) -> None:
        """Take ``http.response.start`` and ``http.response.body``.

        Raises :class:`AppError` for what the ASGI specification forbids, :class:`ClientDisconnected` when the client is gone.
        """
        if self.disconnected and self.phase is not COMPLETE:
            raise ClientDisconnected("the client has disconnected")
        kind = message["type"]
        if kind == "http.response.body":
            body, more = message.get("body", b""), message.get("more_body", False)
            if type(body) is not bytes:
                body = _as_bytes(body)
            if self.phase is STREAMING and more and body and self._framing is CHUNKED:
                # The case that comes most often, without a call. What goes around the data counts with about 8 bytes.
                size = len(body)
                self._wire.write_pieces((_size_lines.get(size) or _size_line(size), body, b"\r\n"), size + 8)
            else:
                if self.phase is STARTED:
                    data = self._begin(body, more)
                elif self.phase is STREAMING:
                    data = self._continue(body, more)
                else:
                    raise AppError(f"ASGI message 'http.response.body' sent {self._when()}")
                if not more:
                    if self._trailers is None:
                        self._complete(data)
                    else:
                        self._await_trailers(data)
                    return
                if data:
                    self._wire.write(data)
            if self._wire.room is not None:
                # Shielded: who is cancelled while waiting must not take the others' future with him.
                await asyncio.shield(self._wire.room)
        elif kind == "http.response.start":
            if self.phase is not EXPECTED:
                raise self._fault(f"ASGI message 'http.response.start' sent {self._when()}")
            self.status = message["status"]
            self._headers = message.get("headers", ())
            if message.get("trailers", False):
                self._trailers = []
            self.phase = STARTED
        else:
            await self._extend(kind, message)

    async def _extend(self, kind: str, message: Message) -> None:
        """Take the messages of the extensions (ASGI specification, Extensions)."""
        if kind not in EXTENSIONS:
            raise AppError(f"ASGI message type {kind!r} is not one of a response")
        wanted = {"http.response.pathsend": (STARTED,), "http.response.trailers": (TRAILING,)}
        if self.phase not in wanted.get(kind, (EXPECTED, STARTED, STREAMING)):
            raise AppError(f"ASGI message {kind!r} sent {self._when()}")
        if kind == "http.response.pathsend":
            await self._send_path(message["path"])
        elif kind == "http.response.trailers":
            self._take_trailers(message.get("headers", ()), message.get("more_trailers", False))
        elif self.phase is not STREAMING and self.request.version == "1.1":
            # Behind the head there is no place for hints any more, and HTTP/1.0 has none at all: then they are dropped.
            lines = encode_lines((b"link", link) for link in message["links"])
            self._wire.write(b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(lines))

    def _await_trailers(self, data: bytes) -> None:
        """Send the end of the body without the empty line behind the last chunk: trailers go before that."""
        self.phase = TRAILING
        self._wire.write(data[:-2] if self._framing is CHUNKED else data)

    def _take_trailers(self, headers: Iterable[tuple[bytes, bytes]], more: bool) -> None:
        assert self._trailers is not None
        self._trailers += encode_lines(headers)
        if not more:
            coding = b",".join(value for name, value in self.request.headers if name == b"te").lower()
            welcome = b"trailers" in [item.strip(b" \t") for item in coding.split(b",")]
            lines = b"".join(self._trailers) if welcome else b""
            self._complete(lines + b"\r\n" if self._framing is CHUNKED else b"")

    async def _send_path(self, path: str) -> None:
        with open(path, "rb", buffering=0) as file:
            self._sent = size = os.fstat(file.fileno()).st_size
            head = self._encode_head(size)
            if self._framing is LENGTH and size != self._length:
                raise self._mismatch(size, False)
            self.phase = STREAMING
            if self._framing is LENGTH:
                self._wire.write(head)
                await self._wire.send_file(file, size)
                head = b""
        self._complete(head)

    def _when(self) -> str:
        return {
            EXPECTED: "before 'http.response.start'",
            STARTED: "twice",
            STREAMING: "twice",
            TRAILING: "after the body was complete",
            COMPLETE: "after the response was complete",
        }[self.phase]

    def _begin(self, body: bytes, more: bool) -> bytes:
        """What is to be written first: the head and what there is of the body. If that is large, the head is written here."""
        self._sent = size = len(body)
        head = self._encode_head(None if more or self._trailers is not None else size)
        if self._framing is not LENGTH:
            body = self._frame(body, more)
        elif size != self._length and (size > self._length or not more):
            raise self._mismatch(size, more)
        self.phase = STREAMING
        if size < _MOST_COPIED:
            return head + body
        self._wire.write(head)
        return body

    def _encode_head(self, whole: int | None) -> bytes:
        """The head, for a body of ``whole`` bytes if that is known; sets what is to be known of the body."""
        service = self._service
        # A client that still waits for 100 Continue may or may not send its body now: the connection can't be used again.
        persist = service.phase is SERVING and (self.body_complete or not self.withholds_body)
        head, self._framing, self._length, self._keep_alive = encode(
            self.request, self.status, self._headers, service.defaults, whole, persist
        )
        return head

    def _continue(self, body: bytes, more: bool) -> bytes:
        """More of the body."""
        if self._framing is not LENGTH:
            return self._frame(body, more)
        size = self._sent + len(body)
        if size != self._length and (size > self._length or not more):
            raise self._mismatch(size, more)
        self._sent = size
        return body

    def _frame(self, body: bytes, more: bool) -> bytes:
        if self._framing is CHUNKED:
            if body:
                body = _size_line(len(body)) + body + b"\r\n"
            return body if more else body + b"0\r\n\r\n"
        return b"" if self._framing is EMPTY else body

    def _mismatch(self, size: int, more: bool) -> AppError:
        so_far = "so far " if more else ""
        return AppError(f"response body has {size} bytes {so_far}where Content-Length says {self._length}")

    def _complete(self, data: bytes) -> None:
        self.phase = COMPLETE
        self._pieces = None
        service = self._service
        if service.access is not None:
            request = self.request
            service.access(self._wire.client, request.method, request.target.decode("ascii"), request.version, self.status)
        service.requests += 1
        if service.on_request is not None:
            service.on_request()
        self._wire.respond(data, self._keep_alive)
        if self._waiter is not None:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    # The application's life.

    async def _run(self) -> None:
        try:
            result = await self._service.app(self.scope, self.receive, self.send)  # type: ignore[func-returns-value]
            if result is not None:
                raise AppError(f"the application returned {result!r}; an ASGI application returns None")
            if self.phase is TRAILING and not self._trailers and not self.disconnected:
                # The body is whole: servers without trailers miss none that were announced. ASGIWebDAV sends none, ever.
                self._take_trailers((), False)
            if self.phase is not COMPLETE and not self.disconnected:
                raise self._fault(f"the application returned {self._lack()}")
        except asyncio.CancelledError:
            self._abandon()
            raise
        except Exception as error:
            report(error, self.describe(), self.client_done)
            self._abandon()
        finally:
            self._service.end(self)

    def _fault(self, what: str) -> Exception:
        """What the application did wrong; but who is told that the client has left may break off as he likes."""
        return ClientDisconnected(what) if self.client_done else AppError(what)

    def _lack(self) -> str:
        return "without a response" if self.phase is EXPECTED else "without completing its response"

    def _abandon(self) -> None:
        """The application gave up: 500 if nothing is on the wire yet, else a close that the client can tell from an end."""
        if self.phase is COMPLETE or self.disconnected:
            return
        if self.phase is STREAMING or self.phase is TRAILING:
            self._wire.broken(self._framing)
            return
        self.status = 500
        data = plain(500, "Internal Server Error", self._service.defaults, with_body=self.request.method != "HEAD")
        self._keep_alive = False
        self._complete(data)


def _size_line(size: int) -> bytes:
    """The first line of a chunk, remembered."""
    line = b"%x\r\n" % size
    remember(_size_lines, size, line, _MOST_SIZES)
    return line


def _as_bytes(body: object) -> bytes:
    """Other bytes-like bodies than ASGI's byte strings are common enough to be taken, and copied: they may change later."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise AppError(f"response body {body!r:.80} is not bytes")
