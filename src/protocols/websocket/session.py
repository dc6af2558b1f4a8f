"""One WebSocket as the application sees it (ASGI WebSocket specification 2.4).

The session knows no transport: it turns messages into frames for its connection, and is told by it what the client sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, auto
from sys import getsizeof
from time import monotonic
from typing import Protocol

from ...errors import AppError
from ..application import converse
from ..asgi import WEBSOCKET_VERSIONS, ClientDisconnected, Field, Message, Scope
from ..context import Service
from ..exchange import as_bytes
from ..request import RequestHead
from ..scope import request_scope
from ..stream import Stream
from ..writer import Writer
from . import frames
from .deflate import SMALLEST, Deflater
from .handshake import Offer, answer
from .settings import Settings

NORMAL = 1000
INTERNAL_ERROR = 1011


class Phase(Enum):
    """What the application may send."""

    CONNECTING = auto()
    """It is yet to accept or to refuse."""
    DENYING = auto()
    """It refuses with an HTTP response of its own, whose head is held back until the first part of the body."""
    REFUSING = auto()
    """The head of that response is sent, and the body follows."""
    OPEN = auto()
    CLOSED = auto()
    """It has closed or refused: nothing."""
    GONE = auto()
    """The client is gone, or the server has closed: nothing, and it isn't the application's fault if it tries."""


# To look up a member of an Enum costs, on Python 3.11, ten times what it costs to read a module's name: too much per message.
_OPEN = Phase.OPEN


class Wire(Protocol):
    """The session's connection, as the session knows it."""

    def switching(self, lines: bytes, headers: Iterable[Field]) -> bytes:
        """The response that lets the client in, with the protocol's ``lines`` and the application's ``headers``.

        Raises :class:`AppError`.
        """

    def accepted(self, response: bytes) -> None:
        """The application lets the client in."""

    def denied(self, status: int) -> None:
        """The application has refused the handshake with an HTTP response of its own."""

    def refuse(self, status: int, reason: str) -> None:
        """Refuse the handshake with a response of the server's own."""

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""

    def taken(self) -> None:
        """There is room for messages again."""

    def at_end(self) -> None:
        """The application has seen all that the client sent before it ended the connection."""


class Session:
    """One WebSocket: the application on one side, the connection on the other.

    The session knows ASGI's rules. Messages from the client wait in :attr:`inbox`; when as much waits as may, the connection
    stops reading. What the application sends goes through the phases of :class:`Phase`, as the table ``_ACTS`` at the end says
    for each phase and message: frames to the writer, and an HTTP response that refuses the handshake to the stream.
    """

    __slots__ = (
        *("_deflater", "_denial", "_head", "_new_waiter", "_offer", "_owes", "_service", "_settings", "_size", "_stream"),
        *("_task", "_told_connect", "_waiters", "_wire", "_writer", "ending", "held", "inbox", "phase", "scope", "since"),
    )

    def __init__(
        self,
        service: Service,
        wire: Wire,
        writer: Writer,
        stream: Stream,
        settings: Settings,
        offer: Offer,
        head: RequestHead,
        base: Scope,
    ) -> None:
        """``base``: the part of the scope that all requests of the connection share."""
        self._service = service
        self._wire = wire
        self._writer = writer
        self._stream = stream
        """For an HTTP response that refuses the handshake."""
        self._settings = settings
        self._offer = offer
        self._head = head
        self.phase = Phase.CONNECTING
        self.since = monotonic()
        """When it began, as of ``time.monotonic``."""
        self.ending: tuple[int, str] | None = None
        """Code and reason that the application is told when it has received all messages."""
        self.inbox: deque[str | bytes] = deque()
        """Messages that wait for :meth:`receive`."""
        self._size = 0
        """Bytes of memory that they take: a text's characters take four each where one of them is an emoji."""
        self.held = False
        """Reading stopped because too much waits here: the connection wants to be told when it is taken."""
        self._told_connect = False
        self._owes = False
        """The application works on a message: it has been given one, and has not asked for the next."""
        self._denial: tuple[int, Iterable[Field]] = 0, ()
        """Status and headers of the response with which the application refuses."""
        self._deflater: Deflater | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiters: deque[asyncio.Future[str | bytes | None]] = deque()
        """Of :meth:`receive`: each gets a message, or None when none comes any more."""
        self._new_waiter: Callable[[], asyncio.Future[str | bytes | None]] = service.loop.create_future
        self.scope = scope = request_scope(service, base, head)
        scope["type"] = "websocket"
        scope["asgi"] = dict(WEBSOCKET_VERSIONS)
        del scope["method"]
        scope["scheme"] = {"http": "ws", "https": "wss"}[base["scheme"]]
        # A copy: what the application does to it has no say in what it may accept.
        scope["subprotocols"] = [*offer.subprotocols]
        tls = scope["extensions"].get("tls")
        scope["extensions"] = {"websocket.http.response": {}} | ({"tls": tls} if tls is not None else {})

    # What the connection tells.

    def start(self) -> None:
        """Run the application."""
        self._service.in_flight.add(self)
        self._task = self._service.loop.create_task(self._run())

    @property
    def full(self) -> bool:
        """Whether as much waits for the application as may."""
        return len(self.inbox) >= self._settings.max_queue or self._size >= self._service.limits.buffer

    @property
    def busy(self) -> bool:
        """Whether the application has something of the client's to work on, and may want to answer it."""
        return self.phase is Phase.OPEN and (self._owes or bool(self.inbox))

    def deliver(self, message: str | bytes) -> bool:
        """Hand a message to the application; returns whether it was waiting for one."""
        self._service.meters.messages_received += 1
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                # It gets the message itself: one that need not wait is neither queued nor measured.
                waiter.set_result(message)
                self._owes = True
                return True
        self.inbox.append(message)
        self._size += getsizeof(message)
        return False

    def end(self, code: int, reason: str, *, gone: bool) -> None:
        """No message comes any more. ``gone``: none can be sent either."""
        if self.ending is None:
            self.ending = code, reason
        if gone and self.phase is not Phase.CLOSED:
            self.phase = Phase.GONE
        self._wake_all()

    @property
    def client(self) -> str:
        return self._stream.client

    def describe(self) -> str:
        return f"WebSocket {self._service.name_target(self._head)}"

    def cancel(self) -> None:
        """The server stops and waits no longer; the connection is aborted by its owner."""
        self.phase = Phase.GONE
        self._service.cancel_task(self, self._task)

    def _wake_all(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _give_back(self, message: str | bytes) -> None:
        """A task that was given this message was cancelled in the same turn: another one has to take it, or the next."""
        self._owes = False
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(message)
                self._owes = True
                return
        self.inbox.appendleft(message)
        self._size += getsizeof(message)

    # The application's side.

    async def receive(self) -> Message:
        """``websocket.connect``, then each ``websocket.receive``, then ``websocket.disconnect`` for ever."""
        self._owes = False
        if not self._told_connect:
            self._told_connect = True
            return {"type": "websocket.connect"}
        while not self.inbox:
            if self.ending is not None:
                self._wire.at_end()
                return {"type": "websocket.disconnect", "code": self.ending[0], "reason": self.ending[1]}
            waiter = self._new_waiter()
            self._waiters.append(waiter)
            try:
                given = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and (given := waiter.result()) is not None:
                    self._give_back(given)
                raise
            if given is not None:
                return {"type": "websocket.receive", "text" if type(given) is str else "bytes": given}
        message = self.inbox.popleft()
        self._size -= getsizeof(message)
        self._owes = True
        if self.held and not self.full:
            self.held = False
            self._wire.taken()
        return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}

    async def send(self, message: Message) -> None:
        """Take what the ASGI specification lets an application send.

        Raises :class:`AppError` for what it forbids, :class:`ClientDisconnected` when the client is gone.
        """
        kind = message["type"]
        if self.phase is _OPEN and kind == "websocket.send":
            self._writer.write(self._encode(message))
            self._service.meters.messages_sent += 1
        elif self.phase is Phase.GONE:
            raise ClientDisconnected("the client has disconnected")
        else:
            act = _ACTS.get((self.phase, kind))
            if act is None:
                raise AppError(f"ASGI message {kind!r} sent {_WHEN[self.phase]}")
            act(self, message)
        if (room := self._writer.room) is not None:
            # Several tasks may wait for it: the end of one must not be the end of all.
            await asyncio.shield(room)

    def _encode(self, message: Message) -> bytes:
        data = message.get("bytes")
        if data is None:
            text = message.get("text")
            if text is None:
                raise AppError("ASGI message 'websocket.send' with neither text nor bytes")
            data = text.encode()
            if self._deflater is None or len(data) < SMALLEST:
                return frames.text(data)
            return frames.frame(frames.TEXT | frames.COMPRESSED, self._deflater.message(data))
        if self._deflater is None or len(data) < SMALLEST:
            return frames.binary(data)
        return frames.frame(frames.BINARY | frames.COMPRESSED, self._deflater.message(data))

    def _accept(self, message: Message) -> None:
        lines, headers = answer(self._offer, message.get("subprotocol"), message.get("headers") or ())
        response = self._wire.switching(lines, headers)
        if self._offer.deflate is not None:
            self._deflater = Deflater(self._offer.deflate)
        self.phase = Phase.OPEN
        self._wire.accepted(response)

    def _close(self, message: Message) -> None:
        code, reason = message.get("code", NORMAL), message.get("reason") or ""
        if not isinstance(code, int) or not frames.may_be_sent(code):
            raise AppError(f"an endpoint can't close a WebSocket with code {code!r}")
        self._end_by_app(code, reason)
        self._wire.close(code, reason)

    def _end_by_app(self, code: int, reason: str) -> None:
        self.phase = Phase.CLOSED
        self.inbox.clear()
        self._size = 0
        self.ending = self.ending or (code, reason)
        self._wake_all()

    def _forbid(self, message: Message) -> None:
        self._end_by_app(frames.ABNORMAL, "")
        self._wire.refuse(403, "the application refuses the connection")

    def _deny(self, message: Message) -> None:
        self._denial = message["status"], message.get("headers") or ()
        self.phase = Phase.DENYING

    def _deny_body(self, message: Message) -> None:
        body, more = as_bytes(message.get("body", b"")), message.get("more_body", False)
        stream, is_first = self._stream, self.phase is Phase.DENYING
        if more:
            if is_first:
                stream.send_head(*self._denial, body)
                self.phase = Phase.REFUSING
            else:
                stream.send_body(body)
            return
        if is_first:
            stream.send_whole(*self._denial, body)
        else:
            stream.end_body(body)
        self._end_by_app(frames.ABNORMAL, "")
        self._wire.denied(self._denial[0])

    # The application's life.

    async def _run(self) -> None:
        try:
            await converse(self._service, self)
        finally:
            # An application may keep ``receive`` for ever.
            self.inbox.clear()
            self._wire.at_end()

    @property
    def is_complete(self) -> bool:
        return self.phase is Phase.CLOSED

    @property
    def is_over(self) -> bool:
        return self.phase is Phase.GONE

    def returned(self) -> Exception | None:
        if self.phase in (Phase.CONNECTING, Phase.DENYING, Phase.REFUSING):
            return AppError("the application returned without accepting or refusing the connection")
        if self.phase is Phase.OPEN:
            self._end_by_app(NORMAL, "")
            self._wire.close(NORMAL, "")
        return None

    def abandon(self) -> None:
        """The client is told in whichever way is left."""
        phase = self.phase
        if phase in (Phase.CLOSED, Phase.GONE):
            return
        self._end_by_app(INTERNAL_ERROR, "")
        if phase is Phase.OPEN:
            self._wire.close(INTERNAL_ERROR, "")
        elif phase is Phase.REFUSING:
            self._stream.reset()
        else:
            self._wire.refuse(500, "Internal Server Error")


_ACTS = {
    (Phase.CONNECTING, "websocket.accept"): Session._accept,
    (Phase.CONNECTING, "websocket.close"): Session._forbid,
    (Phase.CONNECTING, "websocket.http.response.start"): Session._deny,
    (Phase.DENYING, "websocket.http.response.body"): Session._deny_body,
    (Phase.REFUSING, "websocket.http.response.body"): Session._deny_body,
    (Phase.OPEN, "websocket.close"): Session._close,
}
_WHEN = {
    Phase.CONNECTING: "before 'websocket.accept'",
    Phase.DENYING: "during 'websocket.http.response'",
    Phase.REFUSING: "during 'websocket.http.response'",
    Phase.OPEN: "after 'websocket.accept'",
    Phase.CLOSED: "after the application closed the connection",
}
