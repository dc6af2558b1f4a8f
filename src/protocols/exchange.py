"""One request and its response as ASGI sees them, written once for all codecs (ASGI HTTP specification 2.3).

The exchange knows no bytes of HTTP beside what response.py encodes for it, and no transport: it writes to its connection and is
told by it of body bytes and of the client's leaving.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from ..errors import AppError
from .asgi import ClientDisconnected, Message, Scope
from .blame import is_torn_down, report
from .context import Phase as ServicePhase
from .context import Service
from .http1.codec import RequestHead
from .http1.response import Framing, encode, encode_lines, plain
from .progress import (
    CHUNKING,
    COMING,
    COMPLETE,
    EXPECTED,
    GONE,
    SENDFILE,
    STARTED,
    STREAMING,
    TAKEN,
    TRAILING,
    UNSENT,
    WHEN,
    WHOLE,
    WITHHELD,
)
from .scope import EXTENSIONS, request_scope
from .sendfile import File, in_thread
from .stream import Wire

LENGTH, CHUNKED, CLOSE, EMPTY = Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE, Framing.EMPTY
SERVING = ServicePhase.SERVING
CLIENT_LEFT = 499
"""In the access log: the client left before it had all of the response. nginx's number; no client ever gets it."""
_PROMPT_DROPS = 500
"""Messages to a client that has left which are dropped as quickly as the event loop turns, some 10 ms of work."""
_DROP_PAUSE = 0.01
"""Seconds between two later ones: whoever sends on for seconds is not to keep a processor busy."""
_MOST_COPIED = 32 * 1024
"""Bytes; what is larger is not copied behind the response's head, but written beside it."""


class Exchange:
    # Slots: attributes that fall back to the class would cost more at every reading.
    __slots__ = (
        "_dropped",
        "_drops_until",
        "_file",
        "_framing",
        "_headers",
        "_keep_alive",
        "_length",
        "_pieces",
        "_sent",
        "_service",
        "_task",
        "_trailers",
        "_waiter",
        "_wire",
        "began",
        "buffered",
        "client_done",
        "intake",
        "phase",
        "request",
        "response_headers",
        "scope",
        "since",
        "status",
    )

    _task: asyncio.Task[None]
    # Set when the response starts; nothing reads them before.
    status: int
    """The response's; in the end the one that the access log has."""
    response_headers: Iterable[tuple[bytes, bytes]]
    # Set when its head is encoded.
    _framing: Framing
    _length: int
    """With LENGTH: the bytes that the response's body must have."""
    _sent: int
    """Body bytes sent."""
    _keep_alive: bool
    # Set when a file goes out.
    _file: File
    # Set when the access log wants it.
    began: float
    """As of ``time.perf_counter``."""
    # Set when the connection is lost.
    _drops_until: float
    """Until when messages are dropped, as of ``Service.now``; 0 before the first."""
    _dropped: int

    def __init__(self, service: Service, wire: Wire, head: RequestHead, base: Scope) -> None:
        """``base``: the part of the scope that all requests of the connection share."""
        self._service = service
        self._wire = wire
        self.request = head
        self.scope = request_scope(service, base, head)
        self.since = service.now
        self.phase = EXPECTED
        self.intake = WHOLE
        """There is no body, unless the connection says something else."""
        self.client_done = False
        """The client sends no more (it is gone or half-closed): ``receive`` says http.disconnect."""
        self.buffered = 0
        self._pieces: list[bytes] | None = None
        """Body bytes waiting for ``receive``, ``buffered`` of them: adding them up for each that comes would be quadratic."""
        self._waiter: asyncio.Future[None] | None = None
        self._trailers: list[bytes] | None = None
        """Trailer lines to send, if the application has announced that there are going to be some."""

    # What the connection tells.

    def start(self) -> None:
        """Run the application."""
        service = self._service
        service.works.add(self)
        if service.timed:
            self.began = time.perf_counter()
        # Called from a variable, as are all functions that are attributes: CPython 3.11 is quick with methods only.
        make_task = service.make_task
        self._task = make_task(self._run())

    def await_body(self) -> None:
        """There is a body, and it is not here yet."""
        self.intake = WITHHELD if self.request.terms.expect_continue else COMING

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
        self.intake = WHOLE
        self._wake()

    def half_close(self) -> None:
        """The client sends no more, but may still read."""
        self.client_done = True
        self._wake()

    def disconnect(self, status: int = CLIENT_LEFT) -> None:
        """The connection is gone, or nothing can be sent any more; ``status`` is for the access log."""
        self.client_done = True
        if self.phase is not COMPLETE and self.phase is not GONE:
            if self.phase is SENDFILE:
                self._sent = self._file.sent
            self.phase = GONE
            self._drops_until = 0.0
            self._dropped = 0
            self._count(status)
        self._wake()

    def describe(self) -> str:
        return f"{self.request.method} {self._service.name_target(self.request)}"

    @property
    def sent(self) -> int:
        """Bytes of the response's body that went out."""
        framing = getattr(self, "_framing", EMPTY)
        if framing is CHUNKED:
            return self._wire.chunked
        return 0 if framing is EMPTY else self._sent

    def cancel(self) -> None:
        """The server stops and waits no longer: 503 if nothing was sent, else the response breaks off."""
        self._give_up(503, "the server stops")
        self.client_done = True
        self._task.cancel()

    # The application's side.

    async def receive(self) -> Message:
        """``http.request`` with what has arrived of the body; ``http.disconnect`` once the client or the response is done."""
        while True:
            if self._pieces and self.phase is not COMPLETE:
                return self._take()
            if self.intake is WHOLE and self.phase not in (COMPLETE, GONE):
                self.intake = TAKEN
                return {"type": "http.request", "body": b"", "more_body": False}
            if self.client_done or self.phase is COMPLETE:
                return {"type": "http.disconnect"}
            if self.intake is WITHHELD and self.phase in UNSENT:
                # Only now, that the application wants the body, is the client asked for it (RFC 9110 section 10.1.1).
                self.intake = COMING
                self._wire.ask_for_body()
            if self._waiter is None:
                self._waiter = self._service.loop.create_future()
            await asyncio.shield(self._waiter)

    def _take(self) -> Message:
        assert self._pieces
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.buffered = 0
        more = self.intake is not WHOLE
        if not more:
            self.intake = TAKEN
        self._wire.consumed()
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: Message) -> None:
        """Take ``http.response.start`` and ``http.response.body``.

        Raises :class:`AppError` for what the ASGI specification forbids, and after some time of sending to a client that is
        gone :class:`ClientDisconnected`.
        """
        kind = message["type"]
        if kind != "http.response.body":
            if kind != "http.response.start":
                await self._extend(kind, message)
                return
            if self.phase is not EXPECTED:
                await self._misplaced(kind)
                return
            self.status = message["status"]
            self.response_headers = message.get("headers", ())
            if message.get("trailers", False):
                self._trailers = []
            self.phase = STARTED
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if type(body) is not bytes:
            body = _as_bytes(body)
        phase = self.phase
        if phase is CHUNKING and more and body:
            # The case that comes most often, with as few calls as can be.
            self._wire.write_chunk(body)
        else:
            if phase is STARTED and not more and self._wire.room is not None:
                # Answers must not pile up before a client that does not read.
                await asyncio.shield(self._wire.room)
                phase = self.phase
            if phase is STARTED:
                data = self._begin(body, len(body), more)
            elif phase is STREAMING or phase is CHUNKING:
                data = self._continue(body, more)
            else:
                await self._misplaced(kind)
                return
            if not more:
                if self._trailers is None:
                    self._complete(data)
                else:
                    self._await_trailers(data)
                return
            if data and body:
                self._wire.write(data)
            elif data:
                # A head alone: the first event behind it is not to be collected.
                self._wire.write_last(data)
        if self._wire.room is not None:
            # Shielded: who is cancelled while waiting must not take the others' future with him.
            await asyncio.shield(self._wire.room)

    async def _extend(self, kind: str, message: Message) -> None:
        """Take the messages of the extensions (ASGI specification, Extensions)."""
        if kind not in EXTENSIONS:
            raise AppError(f"ASGI message type {kind!r} is not one of a response")
        wanted = {"http.response.pathsend": (STARTED,), "http.response.trailers": (TRAILING,)}
        if self.phase not in wanted.get(kind, (EXPECTED, STARTED, STREAMING, CHUNKING)):
            await self._misplaced(kind)
        elif kind == "http.response.pathsend":
            await self._send_path(message["path"])
        elif kind == "http.response.trailers":
            self._take_trailers(message.get("headers", ()), message.get("more_trailers", False))
        elif self.phase in UNSENT and self.request.terms.version == "1.1":
            # Behind the head there is no place for hints any more, and HTTP/1.0 has none at all: then they are dropped.
            lines = encode_lines((b"link", link) for link in message["links"])
            self._wire.write(b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(lines))

    def _await_trailers(self, data: bytes) -> None:
        """Send the end of the body."""
        self.phase = TRAILING
        if data:
            self._wire.write(data)

    def _take_trailers(self, headers: Iterable[tuple[bytes, bytes]], more: bool) -> None:
        assert self._trailers is not None
        self._trailers += encode_lines(headers)
        if not more:
            coding = b",".join(value for name, value in self.request.headers if name == b"te").lower()
            welcome = b"trailers" in [item.strip(b" \t") for item in coding.split(b",")]
            lines = b"".join(self._trailers) if welcome else b""
            self._complete(b"0\r\n%b\r\n" % lines if self._framing is CHUNKED else b"")

    async def _send_path(self, path: str) -> None:
        with File(path) as file:
            await in_thread(self._service.loop, file.open)
            if self.phase is not STARTED:
                await self._misplaced("http.response.pathsend")
                return
            # A file goes out with its length, and then there is no place for trailers.
            self._trailers = None
            if file.whole is not None:
                await self.send({"type": "http.response.body", "body": file.whole})
                return
            data = self._begin(b"", file.size, False)
            if self._framing is LENGTH:
                self._wire.hold(data)
                self._file = file
                self.phase = SENDFILE
                try:
                    await self._wire.send_file(file)
                except ClientDisconnected:
                    # As with any other message that nobody gets.
                    return
                data = b""
        self._complete(data)

    async def _misplaced(self, kind: str) -> None:
        """Take a message that does not fit the phase: one that nobody gets is dropped. Raises AppError for any other.

        Dropping is what an application of ``spec_version`` 2.3 may rely on: what it does behind its response still happens.
        Each time the event loop turns, so that a task that listens for the client's leaving can break off. A sender that goes
        on for ``linger_time`` does not listen, and may never end: then ClientDisconnected is raised.
        """
        if self.phase is not GONE:
            what = f"ASGI message {kind!r} sent {WHEN[self.phase]}"
            raise self._fault(what) if kind == "http.response.start" else AppError(what)
        now = self._service.now
        self._drops_until = self._drops_until or now + 1 + self._service.limits.linger_time
        if now >= self._drops_until:
            raise ClientDisconnected("the client has disconnected")
        self._dropped += 1
        await asyncio.sleep(0 if self._dropped <= _PROMPT_DROPS else _DROP_PAUSE)

    def _begin(self, body: bytes, size: int, more: bool) -> bytes:
        """What is to be written first: the head and ``body``. What of it had better be written by itself is written here.

        ``size``: the bytes that are sent of the body now, be it from ``body`` or from a file.
        """
        service = self._service
        # A client that still waits for 100 Continue may or may not send its body now: the connection can't be used again.
        head, self._framing, length, self._keep_alive = encode(
            self.request,
            self.status,
            self.response_headers,
            service.defaults,
            None if more or self._trailers is not None else size,
            service.phase is SERVING and self.intake is not WITHHELD,
        )
        self._length = length
        if self._framing is not LENGTH:
            if self._framing is CHUNKED:
                self._wire.chunked = 0
                if body and (more or self._trailers is not None):
                    self._wire.hold(head)
                    head = b""
            body = self._frame(body, more)
        elif size != length and (size > length or not more):
            raise self._mismatch(size, more)
        self._sent = size
        self.phase = CHUNKING if self._framing is CHUNKED else STREAMING
        if len(body) < _MOST_COPIED:
            return head + body
        self._wire.hold(head)
        return body

    def _continue(self, body: bytes, more: bool) -> bytes:
        """More of the body."""
        if self._framing is not LENGTH:
            if self._framing is CLOSE:
                self._sent += len(body)
            return self._frame(body, more)
        size = self._sent + len(body)
        if size != self._length and (size > self._length or not more):
            raise self._mismatch(size, more)
        self._sent = size
        return body

    def _frame(self, body: bytes, more: bool) -> bytes:
        """What is to be written of a body without Content-Length; chunks before the last one are written here."""
        if self._framing is not CHUNKED:
            return b"" if self._framing is EMPTY else body
        if more or self._trailers is not None:
            # The end of the chunks goes with the trailers, if there are to be some.
            if body:
                self._wire.write_chunk(body)
            return b""
        if not body:
            return b"0\r\n\r\n"
        self._wire.chunked += len(body)
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    def _mismatch(self, size: int, more: bool) -> AppError:
        so_far = "so far " if more else ""
        return AppError(f"response body has {size} bytes {so_far}where Content-Length says {self._length}")

    def _complete(self, data: bytes) -> None:
        self.phase = COMPLETE
        self._pieces = None
        self._wire.respond(data, self._keep_alive)
        self._count(CLIENT_LEFT if self.client_done else self.status)
        if self._waiter is not None:
            self._wake()

    def _count(self, status: int) -> None:
        """The response is over, whole or not: log and count it, once."""
        self.status = status
        service = self._service
        if service.access is not None:
            request = self.request
            target = request.target.decode("ascii")
            if service.root_path or '"' in target or "\\" in target:
                # Not always: what it does is seldom to be done, and the call is 1 % of a request.
                target = service.name_target(request)
            service.access(self._wire.client, request.method, target, request.terms.version, status, self)
        service.requests += 1
        if service.on_request is not None:
            service.on_request()

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    # The application's life.

    async def _run(self) -> None:
        app = self._service.app
        if self._wire.bursts:
            self._wire.begin()
        try:
            result = await app(self.scope, self.receive, self.send)  # type: ignore[func-returns-value]
            if result is not None:
                raise AppError(f"the application returned {result!r}; an ASGI application returns None")
            if self.phase is not COMPLETE:
                self._end_early()
        except BaseException as error:
            # Also what would end the process, such as SystemExit: it is this request's, and other clients are served on.
            if is_torn_down(error):
                raise
            report(error, self.describe(), self.client_done)
            self._abandon()
        finally:
            end = self._service.end
            end(self)

    def _end_early(self) -> None:
        """The application has returned and did not send all of a response."""
        if self.phase is TRAILING and not self._trailers:
            # The body is whole: servers without trailers miss none that were announced. ASGIWebDAV sends none, ever.
            self._take_trailers((), False)
        elif self.phase is not GONE:
            lack = "without a response" if self.phase is EXPECTED else "without completing its response"
            raise self._fault(f"the application returned {lack}")

    def _fault(self, what: str) -> Exception:
        """What the application did wrong; but who is told that the client has left may break off as he likes."""
        return ClientDisconnected(what) if self.client_done else AppError(what)

    def _abandon(self) -> None:
        """The application gave up."""
        if self.client_done and self.phase in UNSENT:
            # It was told that the client has left. A client that is there all the same must not take this for a failure.
            self.disconnect()
            self._wire.broken(EMPTY)
        else:
            self._give_up(500, "Internal Server Error")

    def _give_up(self, status: int, text: str) -> None:
        """Answer ``status`` if nothing is on the wire yet, else close so that the client can tell it from an end."""
        if self.phase in (COMPLETE, GONE):
            return
        if self.phase not in UNSENT:
            # A task that it has left behind may send on.
            self.disconnect(CLIENT_LEFT if self.client_done else self.status)
            self._wire.broken(self._framing)
            return
        self.status = status
        data = plain(status, text, self._service.defaults, with_body=self.request.method != "HEAD")
        self._keep_alive = False
        self._framing, self._sent = LENGTH, len(text) if self.request.method != "HEAD" else 0
        self._complete(data)


def _as_bytes(body: object) -> bytes:
    """Other bytes-like bodies than ASGI's byte strings are common enough to be taken, and copied: they may change later."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise AppError(f"response body {body!r:.80} is not bytes")
