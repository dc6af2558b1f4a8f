"""One request and its response as ASGI sees them (ASGI HTTP specification 2.3).

The file is long because it is one object: each message of the application and each event of the client, by the phase.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum, auto
from time import monotonic

from ..errors import AppError
from .application import converse
from .asgi import ClientDisconnected, Field, Message, Scope
from .context import AccessLog, Ended, Service
from .delivered import Delivered
from .drops import Drops
from .request import RequestHead
from .scope import request_scope
from .sendfile import File, in_thread
from .stream import Stream

CLIENT_LEFT = 499
"""In the access log: the client left before it had all of the response. nginx's number; no client ever gets it."""


class Phase(Enum):
    """How far the response is."""

    EXPECTED = auto()
    """The application has sent nothing yet."""
    STARTED = auto()
    """It has sent ``http.response.start``, which is held back: the head goes out with the first part of the body."""
    STREAMING = auto()
    """The head is sent, and the body follows."""
    SENDFILE = auto()
    """The head is sent, and a file goes out as the body."""
    TRAILING = auto()
    """The body is sent, and trailers are to follow."""
    COMPLETE = auto()
    GONE = auto()
    """The connection was lost, or the application gave up, before the response was complete: nothing can be sent."""


class Intake(Enum):
    """How far the request's body is."""

    COMING = auto()
    WHOLE = auto()
    """It has arrived to its end."""
    TAKEN = auto()
    """``receive`` has handed out the end."""


# Bound once: each look-up of an enumeration's member costs as much as a call, and a request makes twenty.
EXPECTED, STARTED, STREAMING, SENDFILE, TRAILING, COMPLETE, GONE = Phase
COMING, WHOLE, TAKEN = Intake


class Exchange:
    """One request and its response: the application on one side, a :class:`~tricorn.protocols.stream.Stream` on the other.

    The exchange knows ASGI's rules and no byte of HTTP. Two things go on at once and are kept apart: the response goes through
    the phases of :class:`Phase`, as the table ``_ACTS`` at the end says for each phase and message; the request's body comes
    in through :meth:`feed` and goes out through :meth:`receive`, as :class:`Intake` says. The connection tells of body bytes
    and of the client's leaving.

    The response's end is told once, to the access log and the counters: when it is complete, or when nothing can be sent any
    more. What the application sends later is dropped if the client has left, and is an error if not.
    """

    # Slots: attributes that fall back to the class would cost more at every reading.
    __slots__ = (
        "_drops",
        "_pieces",
        "_service",
        "_stream",
        "_task",
        "_trailers",
        "_waiter",
        "buffered",
        "client_done",
        "intake",
        "is_complete",
        "phase",
        "request",
        "response_headers",
        "scope",
        "since",
        "status",
    )

    def __init__(self, service: Service, stream: Stream, request: RequestHead, base: Scope) -> None:
        """``base``: the part of the scope that all requests of the connection share."""
        self._service = service
        self._stream = stream
        self.request = request
        self.scope = request_scope(service, base, request)
        self.since = monotonic()
        """When it began, as of ``time.monotonic``."""
        self.phase = EXPECTED
        self.is_complete = False
        """Whether the response is complete: the phase is COMPLETE."""
        self.status = 0
        """The response's status, in the end the one for the access log; 0 before there is one."""
        self.response_headers: Iterable[Field] = ()
        self.intake = WHOLE
        """There is no body, unless the connection says something else."""
        self.client_done = False
        """The client sends no more (it is gone or half-closed): ``receive`` says http.disconnect."""
        self.buffered = 0
        """Bytes of ``_pieces``: to add them up for each that comes would be quadratic."""
        self._pieces: list[bytes] | None = None
        """Body bytes that wait for ``receive``."""
        self._waiter: asyncio.Future[None] | None = None
        """Done when there is something new for ``receive``."""
        self._trailers: list[Field] | None = None
        """Trailers to send, if the application has announced some."""
        self._drops: Drops | None = None
        """Messages that reach no client, if there are some."""
        self._task: asyncio.Task[None] | None = None

    # What the connection tells.

    def start(self) -> None:
        """Run the application."""
        service = self._service
        service.in_flight.add(self)
        request = self.request
        if request.target != service.begun.last:
            service.begun.note(request.method, request.target)
        # Called from a variable, as are all functions that are attributes: CPython 3.11 is quick with methods only.
        make_task = service.make_task
        self._task = make_task(converse(service, self))

    def await_body(self) -> None:
        """There is a body, and not all of it is here yet."""
        self.intake = COMING

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
            self.phase = GONE
            self.status = status
            if (access := self._service.access) is not None:
                self._log(access, self, self._stream.client)
            self._count(monotonic() - self.since)
        self._wake()

    # What the service asks.

    @property
    def client(self) -> str:
        return self._stream.client

    def describe(self) -> str:
        return f"{self.request.method} {self._service.name_target(self.request)}"

    def cancel(self) -> None:
        """The server stops and waits no longer: 503 if nothing was sent, else the response breaks off."""
        self._break_off(503, "the server stops")

    @property
    def is_event_stream(self) -> bool:
        """Whether the response is a stream of server-sent events, and has begun."""
        return self.phase is STREAMING and any(
            name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
            for name, value in self.response_headers
        )

    def end_stream(self) -> None:
        """End an event stream as if it were complete: its client connects again. The application is told that it has left."""
        try:
            self._stream.end()
        except AppError:
            self._stream.reset()
        self.disconnect(self.status)

    def time_out(self) -> asyncio.Task[None] | None:
        """The request takes too long: 504 if nothing was sent, else the response breaks off. Returns the cancelled task."""
        self._break_off(504, "the application took too long")
        return self._task

    def _break_off(self, status: int, text: str) -> None:
        # A client that has only closed its side gets the answer. It counts as one that has left first.
        self.client_done = self.client_done or self._stream.has_closed()
        self._give_up(status, text)
        self.client_done = True
        self._service.cancel_task(self, self._task)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return monotonic() - self.since

    @property
    def sent(self) -> int:
        """Bytes of the response's body that went out, when its end is told."""
        return self._stream.sent

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
            if self.intake is COMING:
                self._stream.want_body()
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
        self._stream.consumed(len(body))
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: Message) -> None:
        """Take a message of the response.

        Raises :class:`AppError` for what the ASGI specification forbids, and after some time of sending to a client that is
        gone :class:`ClientDisconnected`.
        """
        phase = self.phase
        # The two messages that come most often are not looked up in the table; it says the same of them.
        if phase is EXPECTED:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.response_headers = message.get("headers", ())
                if message.get("trailers"):
                    self._trailers = []
                self.phase = STARTED
                return
        elif phase is STREAMING and message["type"] == "http.response.body" and message.get("more_body"):
            # As below, in fewer steps: 3 % of a stream.
            body = message.get("body", b"")
            if (room := self._stream.send_body(body if type(body) is bytes else as_bytes(body))) is not None:
                # Shielded: a cancelled waiter must not cancel the future that others wait for.
                await asyncio.shield(room)
            return
        elif (phase is STARTED or phase is STREAMING) and message["type"] == "http.response.body":
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = as_bytes(body)
            more = message.get("more_body")
            if more or self._trailers is not None:
                if phase is STARTED:
                    room = self._stream.send_head(self.status, self.response_headers, body)
                    self.phase = STREAMING
                else:
                    room = self._stream.send_body(body)
                if not more:
                    self.phase = TRAILING
                elif room is not None:
                    await asyncio.shield(room)
                return
            if phase is STREAMING:
                self._stream.end_body(body)
            elif (room := self._stream.send_whole(self.status, self.response_headers, body)) is not None:
                # Nothing was sent yet.
                await asyncio.shield(room)
                await self.send(message)
                return
            self._complete()
            return
        await _ACTS.get((phase, message["type"]), Exchange._misplaced)(self, message)

    async def _hint(self, message: Message) -> None:
        self._stream.send_interim(103, ((b"link", link) for link in message["links"]))

    async def _drop_hint(self, message: Message) -> None:
        """Behind the head there is no place for hints any more: they are dropped."""

    async def _take_trailers(self, message: Message) -> None:
        assert self._trailers is not None
        self._trailers += message.get("headers", ())
        if not message.get("more_trailers", False):
            self._stream.send_trailers(self._trailers)
            self._complete()

    async def _send_path(self, message: Message) -> None:
        with File(message["path"]) as file:
            await in_thread(self._service.loop, file.open)
            if self.phase is not STARTED:
                await self._misplaced(message)
                return
            # A file goes out with its length, and then there is no place for trailers.
            self._trailers = None
            if file.whole is not None:
                await self.send({"type": "http.response.body", "body": file.whole})
                return
            self._stream.send_head(self.status, self.response_headers, b"", file.size)
            self.phase = SENDFILE
            try:
                await self._stream.send_file(file)
            except ClientDisconnected:
                # As with any other message that reaches no client.
                return
        self._stream.end_body(b"")
        self._complete()

    async def _misplaced(self, message: Message) -> None:
        """Take a message that does not fit the phase: if it can reach no client, it is dropped. Raises AppError for any
        other."""
        kind = message["type"]
        if kind not in _KINDS:
            raise AppError(f"ASGI message type {kind!r} is not one of a response")
        if self.phase is not GONE:
            what = f"ASGI message {kind!r} sent {_WHEN[self.phase]}"
            raise self._fault(what) if kind == "http.response.start" else AppError(what)
        service = self._service
        if self._drops is None:
            self._drops = Drops(service.deadline_in(service.limits.linger_time))
        await self._drops.drop(service.now)

    def _complete(self) -> None:
        self.phase = COMPLETE
        self.is_complete = True
        self._pieces = None
        if self.client_done:
            self.status = CLIENT_LEFT
        service = self._service
        if service.access is None or self._is_told(service.access):
            # As _count, but without a call.
            service.requests += 1
            try:
                count = service.counters[self.request.method][self.status]
            except KeyError:
                count = service.meters.counter(self.request.method, self.status)
            count(monotonic() - self.since)
            if service.on_request is not None:
                service.on_request()
        if self._waiter is not None:
            self._wake()

    def _is_told(self, access: AccessLog) -> bool:
        """Log the response, unless that has to wait."""
        if self._stream.owes():
            self._count_delivered(access)
            return False
        self._log(access, self, self._stream.client)
        return True

    def _count_delivered(self, access: AccessLog) -> None:
        """Log and count the response when the client has taken it, or has left before."""
        delivered = Delivered(self, self._stream.client)

        def end(missing: int) -> None:
            if missing:
                self.status = delivered.status = CLIENT_LEFT
                delivered.sent = max(0, delivered.sent - missing)
            self._log(access, delivered, delivered.client)
            self._count(delivered.seconds)

        self._stream.when_delivered(end)

    def _count(self, seconds: float) -> None:
        """The response is over, whole or not, after so many seconds: count it, once."""
        service = self._service
        service.requests += 1
        try:
            count = service.counters[self.request.method][self.status]
        except KeyError:
            count = service.meters.counter(self.request.method, self.status)
        count(seconds)
        if service.on_request is not None:
            service.on_request()

    def _log(self, access: AccessLog, ended: Ended, client: str) -> None:
        request = self.request
        target = request.target.decode("ascii")
        if self._service.root_path or '"' in target or "\\" in target:
            # Only if there is something to do: the call is 1 % of a request.
            target = self._service.name_target(request)
        access(client, request.method, target, request.terms.version, self.status, ended)

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    # The application's life.

    @property
    def is_over(self) -> bool:
        return self.client_done

    def returned(self) -> Exception | None:
        if self.phase is GONE:
            return None
        if self.phase is TRAILING and not self._trailers:
            # The body is whole: servers without trailers miss none that were announced. ASGIWebDAV sends none, ever.
            self._stream.send_trailers(())
            self._complete()
            return None
        lack = "without a response" if self.phase is EXPECTED else "without completing its response"
        return self._fault(f"the application returned {lack}")

    def abandon(self) -> None:
        if self.client_done and (self.phase is EXPECTED or self.phase is STARTED):
            # It was told that the client has left. A client that is there all the same must not take this for a failure.
            self.disconnect()
            self._stream.reset()
        else:
            self._give_up(500, "Internal Server Error")

    def _fault(self, what: str) -> Exception:
        """What the application did wrong; after a disconnect an application error is expected."""
        return ClientDisconnected(what) if self.client_done else AppError(what)

    def _give_up(self, status: int, text: str) -> None:
        """Answer ``status`` if nothing is on the wire yet, else close so that the client can tell it from an end."""
        if self.phase is COMPLETE or self.phase is GONE:
            return
        if self.phase is EXPECTED or self.phase is STARTED:
            self.status = status
            self._stream.refuse(status, text)
            self._complete()
        else:
            # A task that the application has left behind may send on.
            self.disconnect(CLIENT_LEFT if self.client_done else self.status)
            self._stream.reset()


_HINT = "http.response.early_hint"
_ACTS: Mapping[tuple[Phase, str], Callable[[Exchange, Message], Awaitable[None]]] = {
    # (EXPECTED, "http.response.start"), (STARTED, "http.response.body") and (STREAMING, "http.response.body"): send itself.
    (EXPECTED, _HINT): Exchange._hint,
    (STARTED, _HINT): Exchange._hint,
    (STARTED, "http.response.pathsend"): Exchange._send_path,
    (STREAMING, _HINT): Exchange._drop_hint,
    (TRAILING, "http.response.trailers"): Exchange._take_trailers,
}
"""What takes a message in a phase; any other pair is misplaced."""
_KINDS = frozenset({"http.response.start", "http.response.body", *(kind for _, kind in _ACTS)})
_WHEN = {
    EXPECTED: "before 'http.response.start'",
    STARTED: "twice",
    STREAMING: "twice",
    SENDFILE: "while a file is sent",
    TRAILING: "after the body was complete",
    COMPLETE: "after the response was complete",
}
"""What an application is told of a message that does not fit the phase."""


def as_bytes(body: object) -> bytes:
    """Other bytes-like bodies than ASGI's byte strings are common enough to be taken, and copied: they may change later."""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise AppError(f"response body {body!r:.80} is not bytes")
