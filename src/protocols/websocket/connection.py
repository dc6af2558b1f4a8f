"""One WebSocket's transport: it answers the handshake, reads, writes, keeps alive and closes, whatever the session says.

The file is long because it is one object: each event of transport, client, session and service, by the connection's phase.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import Enum, auto
from typing import Protocol

from ..asgi import Field, Scope
from ..context import Phase as ServicePhase
from ..context import Upgrade
from ..delivery import ALERT_TIME, is_blocked, mark, reset_when_closed, waiting
from ..http1.response import switching
from ..http1.shared import Http1
from ..http1.stream import Http1Stream
from ..request import RequestHead, Terms
from ..stream import Stream
from ..writer import Writer
from . import frames
from .handshake import Offer, Refusal, negotiate
from .session import INTERNAL_ERROR, Session
from .session import Phase as SessionPhase
from .settings import Settings

NEVER = float("inf")
CLOSE_TIME = 10.0
"""Seconds that a client may take to answer a closing frame, unless the worker stops promptly."""
END_TIME = 1.0
"""Seconds that an application may take for messages it got before the client ended the connection, until that is answered."""
EVENTS_PER_TURN = 100
"""What is read of one client before the others get their turn. Up to 40,000 small frames come in one read, and each of them
takes wsproto 30 microseconds or more."""
RESTART = 1012
_PING = b"tricorn"


def upgrade(http1: Http1, settings: Settings) -> Upgrade:
    """What takes over the connections of the worker that ask for WebSocket, of HTTP/1.1 and of HTTP/2."""
    return lambda transport, head, base, client: WebSocketConnection(http1, settings, transport, head, base, client)


class AnyStream(Stream, Protocol):
    """What answers the handshake while it is an HTTP request."""

    def refuse(self, status: int, text: str, extra: bytes = b"") -> None:
        """As Stream's; ``extra``: further header lines."""


class Phase(Enum):
    """What the connection is busy with."""

    HANDSHAKE = auto()
    """The application is yet to accept or refuse."""
    OPEN = auto()
    ENDING = auto()
    """The client has closed, or broken the protocol; its earlier messages are still with the application."""
    CLOSING = auto()
    """A closing frame was sent, and the client's is awaited."""
    LINGER = auto()
    """All is written; input is thrown away so that the client can read it."""
    CLOSED = auto()


# To look up a member of an Enum costs, on Python 3.11, ten times what it costs to read a module's name: too much per message.
_OPEN = Phase.OPEN


class WebSocketConnection(asyncio.Protocol):
    """One transport on which a client asks for a WebSocket, from the handshake to the end.

    The connection decides and its parts do: the *reader* turns bytes into events, the *session* is the WebSocket as the
    application sees it, the *writer* sends. The *stream* answers the handshake as long as it is an HTTP request, which is until
    it is accepted. The connection is always in one phase, and the session in one of its own.

    *Slow clients.* As in http1/connection.py there is one deadline, and the service's deliveries watch what a client has yet to
    take. An open WebSocket may be silent for ever, unless it does not answer a ping; any byte is an answer.
    """

    __slots__ = (
        *(
            "_base",
            "_client",
            "_early",
            "_farewell",
            "_head",
            "_http1",
            "_mark",
            "_opened",
            "_phase",
            "_ping_due",
            "_pong",
            "_reader",
        ),
        *(
            "_reading",
            "_service",
            "_session",
            "_settings",
            "_silent",
            "_stream",
            "_violated",
            "_writer",
            "deadline",
            "transport",
        ),
    )

    def __init__(
        self,
        http1: Http1,
        settings: Settings,
        transport: asyncio.Transport,
        head: RequestHead,
        base: Scope,
        client: str,
    ) -> None:
        """``head``: the request that asks for WebSocket; ``base``: the scope's common part; ``client``: for the access log."""
        self._http1 = http1
        self._service = http1.service
        self._settings = settings
        self._head = head
        self._base = base
        self._client = client
        self.transport = transport
        self._writer = Writer(http1.service, transport)
        self._stream: AnyStream | None = transport.get_extra_info("http_stream")
        """None when the connection is lost: it refers to this object. With HTTP/2 the transport is a stream, and tells of
        it."""
        if self._stream is None:
            self._stream = stream = Http1Stream(http1, self._writer, self)
            # An HTTP response is the last on the connection, whatever the request says.
            stream.client = client
            stream.request = head.with_terms(Terms(head.terms.version, keep_alive=False))
        self._session: Session | None = None
        """None when the handshake was refused before there was one, and when the connection is lost."""
        self._reader: frames.Reader | None = None
        """There when a session is."""
        self._phase = Phase.HANDSHAKE
        self.deadline = NEVER
        self._reading = True
        self._early = 0
        """Bytes received before the handshake was answered."""
        self._silent = False
        """Nothing was received since the last ping."""
        self._ping_due = 0.0
        self._mark = 0
        """What the client had taken when the last ping was sent (see delivery.py)."""
        self._pong: bytes | None = None
        """The payload of the last ping, if it can't be answered yet. RFC 6455 section 5.5.3 allows to leave out the others."""
        self._farewell = b""
        """With ENDING: the closing frame to send."""
        self._violated = False
        """The client has broken the protocol."""
        self._opened = False
        """The client was let in."""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._service.websockets += 1
        self._service.opened(self)
        # HTTP, which had the transport before, may have paused it.
        self.transport.resume_reading()
        answer = negotiate(self._head, self._settings.deflate)
        if isinstance(answer, Offer) and self._service.phase is not ServicePhase.SERVING:
            # The application would open what has to be closed at once; so the client is sent to another worker right away.
            answer = Refusal(503, "the server restarts", b"retry-after: 1\r\n")
        if isinstance(answer, Offer) and self._stream is not None:
            self._reader = self._settings.reader(self._settings.max_size, answer.deflate)
            self._session = Session(
                self._service, self, self._writer, self._stream, self._settings, answer, self._head, self._base
            )
            self._session.start()
        else:
            refusal = answer if isinstance(answer, Refusal) else Refusal(400, "not a WebSocket handshake")
            self.refuse(refusal.status, refusal.reason, refusal.extra)

    def data_received(self, data: bytes) -> None:
        self._service.meters.received += len(data)
        self._silent = False
        # The answer to what has just arrived leaves at once; it is a new turn.
        self._writer.end_burst()
        session, reader = self._session, self._reader
        if session is None or reader is None:
            return
        if self._phase is _OPEN:
            message = reader.take(data)
            if message is not None and session.deliver(message):
                return
            self._pull()
        elif self._phase is Phase.CLOSING:
            reader.feed(data)
            self._pull()
        elif self._phase is Phase.HANDSHAKE:
            reader.feed(data)
            self._early += len(data)
            if self._early >= self._service.limits.buffer:
                self._read(False)

    def eof_received(self) -> bool:
        """A client that half-closes behind its closing frame still gets the answer; any other is gone."""
        return self._phase is Phase.ENDING and not self._violated and self.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = Phase.CLOSED
        self.deadline = NEVER
        self._pong = None
        self._writer.lose()
        self._stream = None
        session, self._session = self._session, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        if session is not None:
            session.end(frames.ABNORMAL, "", gone=True)
            if self._opened and session.ending is not None:
                self._log(f"[connection closed {session.ending[0]}]")
        self._count()
        self._service.meters.show()
        self._service.websockets -= 1
        self._service.closed(self)

    def pause_writing(self) -> None:
        self._service.deliveries.watch(self)
        self._writer.pause()

    def resume_writing(self) -> None:
        self._writer.resume()
        if self._pong is not None:
            self._writer.write(frames.pong(self._pong))
            self._pong = None

    # Called by the service.

    def expire(self) -> None:
        """The deadline has passed: of a ping, of the application's last words, of the closing handshake, or of lingering."""
        if self._phase is Phase.OPEN:
            self._keep_alive()
        elif self._phase is Phase.ENDING:
            self._answer_end()
        elif self._phase is not Phase.HANDSHAKE and self._service.deliveries.is_due(self):
            # The client's time begins when it has taken what was sent.
            self.deadline = NEVER
        elif self._phase is Phase.CLOSED:
            self.transport.abort()
        else:
            self._finish()

    def is_owed(self) -> bool:
        """Never: a client that is sent away with messages unread connects again."""
        return False

    def delivered(self) -> None:
        service, phase = self._service, self._phase
        if phase is Phase.CLOSING:
            self._await_close()
        elif phase is Phase.LINGER:
            self.deadline = service.deadline_in(service.limits.linger_time)
        elif phase is Phase.CLOSED:
            self.deadline = service.now + ALERT_TIME

    def cut_off(self) -> None:
        if is_blocked(self.transport):
            reset_when_closed(self.transport)
        elif self._phase in (Phase.HANDSHAKE, Phase.OPEN, Phase.ENDING):
            # It does not keep us from sending more.
            return
        self.abort()

    def drain(self) -> None:
        """Close as RFC 6455's registry of codes has it for a restart; a handshake not yet answered is refused."""
        session = self._session
        if session is None:
            return
        if self._phase is Phase.OPEN:
            session.end(RESTART, "", gone=True)
            self.close(RESTART, "")
        elif self._phase is Phase.HANDSHAKE and session.phase is SessionPhase.CONNECTING:
            session.end(RESTART, "", gone=True)
            self.refuse(503, "the server restarts", b"retry-after: 1\r\n")
        elif self._phase is Phase.ENDING:
            self._answer_end()

    def lasts(self) -> bool:
        """Whether it is open."""
        return self._phase is Phase.OPEN

    def part(self) -> None:
        """The same as :meth:`drain`."""
        self.drain()

    def stop(self) -> None:
        """A prompt stop, which waits no longer for a closing frame than for anything else of a client that is told the end."""
        if self._phase is Phase.CLOSING:
            deadline = self.deadline
            self._await_close()
            self.deadline = min(deadline, self.deadline)

    def abort(self) -> None:
        self._phase = Phase.CLOSED
        if self._session is not None:
            self._session.end(frames.ABNORMAL, "", gone=True)
        self.transport.abort()

    # Reading.

    def _pull(self) -> None:
        """Have read what was received, event by event, while the application keeps up and the others get their turn."""
        session, reader = self._session, self._reader
        if session is None or reader is None:
            # Lost since it was asked for.
            return
        take = reader.next
        for _ in range(EVENTS_PER_TURN):
            if self._phase is Phase.OPEN:
                if session.full:
                    session.held = True
                    self._read(False)
                    return
            elif self._phase is not Phase.CLOSING:
                return
            event = take()
            if event is None:
                if not self._reading:
                    self._read(True)
                return
            if isinstance(event, (str, bytes)):
                # With CLOSING it comes too late.
                if self._phase is Phase.OPEN:
                    session.deliver(event)
            else:
                self._react(session, event)
        if self._phase is Phase.OPEN or self._phase is Phase.CLOSING:
            self._read(False)
            self._service.loop.call_soon(self._pull)

    def _react(self, session: Session, event: frames.Event) -> None:
        if isinstance(event, frames.Ping):
            if self._writer.room is None:
                self._writer.write(frames.pong(event.payload))
            else:
                self._pong = event.payload
        elif isinstance(event, (frames.Close, frames.Violation)):
            if self._phase is Phase.CLOSING:
                self._finish()
                return
            self._violated = isinstance(event, frames.Violation)
            reason = event.reason if self._violated else ""
            self._farewell = frames.close(event.code, reason)
            session.end(event.code, event.reason, gone=False)
            self._phase = Phase.ENDING
            self._read(True)
            if session.busy:
                self.deadline = self._service.deadline_in(END_TIME)
            else:
                self._answer_end()

    def _answer_end(self) -> None:
        """Send the last frame. The client's violation ends the connection; its closing frame is answered by ours."""
        assert self._session is not None
        self._session.end(frames.ABNORMAL, "", gone=True)
        self._writer.write(self._farewell)
        if self._violated:
            self._linger()
        else:
            self._finish()

    def _read(self, wanted: bool) -> None:
        if wanted is not self._reading and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # Called by the session (see session.Wire).

    def switching(self, lines: bytes, headers: Iterable[Field]) -> bytes:
        """With HTTP/2 the tunnel translates it (see http2/tunnel.py)."""
        return switching(lines, headers, self._http1.heads)

    def accepted(self, response: bytes) -> None:
        self._opened = True
        self._phase = Phase.OPEN
        self._log("[accepted]")
        self._writer.write(response)
        # The first message behind it is not to be collected.
        self._writer.end_burst()
        if self._settings.ping_interval:
            self.deadline = self._ping_due = self._service.now + self._settings.ping_interval
        self._pull()

    def refuse(self, status: int, reason: str, extra: bytes = b"") -> None:
        """Refuse the handshake with a response of the server's own; ``extra``: further header lines."""
        self.denied(status)
        if self._stream is not None:
            self._stream.refuse(status, reason, extra)

    def denied(self, status: int) -> None:
        self._log(str(status))

    def close(self, code: int, reason: str) -> None:
        if self._phase is Phase.ENDING:
            self._answer_end()
        elif self._phase is Phase.OPEN:
            self._phase = Phase.CLOSING
            self._await_close()
            self._writer.write(frames.close(code, reason))
            # What was left unread because the application was slow is thrown away now, up to the client's closing frame.
            self._pull()

    def _await_close(self) -> None:
        """From now on it is the client's turn to answer the closing frame."""
        stopping = self._service.phase is ServicePhase.STOPPING
        self.deadline = self._service.deadline_in(self._service.limits.linger_time if stopping else CLOSE_TIME)

    def taken(self) -> None:
        # In a later turn: an application that never has to wait for a message would keep the others from their turn.
        self._service.loop.call_soon(self._pull)

    def at_end(self) -> None:
        if self._phase is Phase.ENDING:
            self._answer_end()

    def _keep_alive(self) -> None:
        """Ping, and give up a client that has been silent since the last one."""
        now, settings = self._service.now, self._settings
        if self._silent and settings.ping_timeout and self._is_behind():
            self.deadline = now + settings.ping_timeout
        elif self._silent and settings.ping_timeout and self._reading:
            assert self._session is not None
            self._session.end(frames.ABNORMAL, "keepalive ping timeout", gone=True)
            self._writer.write(frames.close(INTERNAL_ERROR, "keepalive ping timeout"))
            self._finish()
        elif now < self._ping_due:
            self.deadline = self._ping_due
        else:
            self._writer.write(frames.ping(_PING))
            self._mark = mark(self.transport)
            self._silent = True
            self._ping_due = now + settings.ping_interval
            self.deadline = now + (settings.ping_timeout or settings.ping_interval)

    def _is_behind(self) -> bool:
        """Whether the client still takes what was sent before the ping, and has made progress since the last look."""
        before, self._mark = self._mark, mark(self.transport)
        return self._mark != before and waiting(self.transport) > 0

    # Called by the stream: the handshake is answered by an HTTP response.

    def answered(self, keep_alive: bool) -> None:
        self._linger()

    def break_off(self, ends_body: bool) -> None:
        self.abort()

    def consumed(self) -> None:
        """A handshake has no body."""

    def await_body(self) -> None:
        """A handshake has no body."""

    # Ending.

    def _linger(self) -> None:
        """Close for writing, and go on reading for a while: closing with input unread could destroy what was sent last."""
        self._pong = None
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self._finish()
            return
        self._phase = Phase.LINGER
        self.deadline = self._service.deadline_in(self._service.limits.linger_time)
        self._read(True)
        self._writer.close_for_writing()

    def _finish(self) -> None:
        """Close once all that is written has been sent."""
        self._phase = Phase.CLOSED
        self.deadline = NEVER
        if self._writer.close():
            self._service.deliveries.watch(self)

    def _count(self) -> None:
        service = self._service
        service.requests += 1
        if service.on_request is not None:
            service.on_request()

    def _log(self, what: str) -> None:
        if self._settings.access is not None:
            self._settings.access(f'{self._client} - "WebSocket {self._service.name_target(self._head)}" {what}')
