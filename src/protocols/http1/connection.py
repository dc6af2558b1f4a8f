"""One HTTP/1.1 connection: keep-alive, pipelining, timeouts and flow control. Its writing half is output.py, its end ending.py.

Written once for all codecs: it finds where a head ends, has it parsed, frames the body, and runs one exchange after another.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

from ...errors import BadRequest
from ..context import Phase as ServicePhase
from ..context import Service
from ..departure import has_left, is_silent
from ..exchange import Exchange
from ..facts import Facts
from ..progress import WITHHELD
from ..scope import connection_scope
from . import sizes
from .codec import PLAIN, RequestHead
from .ending import NEVER, SPEAKS_TLS, TOO_MANY, Ending, Refusal
from .framing import ChunkedReader, LengthReader
from .output import BROKEN, CLOSED, DISCARD, EXCHANGE, HEAD, IDLE, LINGER

STOPPING = ServicePhase.STOPPING
END = b"\r\n\r\n"
AT_NEXT_TICK = 0.0
"""A deadline that every tick of the service finds passed."""
LINE_FEED = 0x0A
CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class HttpConnection(Ending):
    __slots__ = (
        "_answered",
        "_checked",
        "_fast",
        "_peer",
        "_proxies",
        "_reading",
        "_resting",
        "_scope",
        "_skipped",
        "_unlooked",
        "refusal",
    )

    def __init__(self, service: Service, facts: Facts) -> None:
        super().__init__(service)
        self._scope, self._peer = connection_scope(service, facts)
        self.client = self._peer
        self._fast = service.lane()
        proxies = service.proxies
        self._proxies = proxies if proxies is not None and proxies.believes(facts.client, facts.server) else None
        """Reads what the peer's headers say of its client; None if the peer is not trusted to tell."""
        self._answered = False
        """At least one request was."""
        self._reading = True
        self._resting = False
        """There is more of the body to read in what has come, in the next turn."""
        self._checked = 0
        """Bytes of an unfinished head that are known to be good; looking at them again for each new byte would be quadratic."""
        self._unlooked = 0
        """How much more of an unfinished head may come before anybody needs to look at it. Slow lorises live here: a thousand
        clients who send a byte at a time must cost little more than the loop needs to receive those."""
        self._skipped = False
        """The empty line that may stand before a request has been skipped."""
        self.refusal: Refusal | None = SPEAKS_TLS if facts.misses_tls else None
        """What the first request is answered with, whatever it is."""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._service.limits.buffer)
        self.deadline = self._service.now + 1 + self._service.limits.request_head_time
        self._service.opened(self)
        most = self._service.limits.concurrency
        if most is not None and len(self._service.connections) - self._service.unwanted > most:
            self.refusal = TOO_MANY
            self._service.unwanted += 1
        if self._service.phase is STOPPING:
            # It waited in the listener's queue when the others were told.
            self.stop()

    def data_received(self, data: bytes) -> None:
        if self._phase is IDLE:
            # Called from a variable: what is called as an attribute, but is no method, is found the slow way (CPython 3.11).
            fast = self._fast
            # A head ends with a line feed; to look for all of its END here would cost more than this saves the lane.
            if data[-1] == LINE_FEED and (head := fast(data)) is not None:
                self._begin(head, b"")
            else:
                self._buffer = data
                self._read_head()
        elif self._phase is HEAD:
            self._buffer += data
            if len(data) <= self._unlooked and not CONTROLS.search(data):
                self._unlooked -= len(data)
            else:
                self._read_head()
        elif self._phase in (EXCHANGE, DISCARD):
            if self._body is not None:
                self._read_body(data)
            else:
                self._buffer += data
                self._regulate()
        elif self._phase is LINGER:
            self._throw_away(len(data))

    def eof_received(self) -> bool:
        """The client has closed its side. It still gets the answers to what it has asked (RFC 9112 section 9.6)."""
        self._eof = self._last = True
        if not self.transport.can_write_eof():
            # Half a TLS connection is more than asyncio can do: it closes, and complains of those who ask it not to.
            return False
        if self._phase is BROKEN:
            # To close now would say that the response was whole.
            return True
        if self._phase is EXCHANGE and self._body is None:
            if self._exchange is not None and has_left(self.transport):
                self._exchange.half_close()
            else:
                self.deadline = AT_NEXT_TICK
            return True
        return self._phase is HEAD and END in self._buffer

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = CLOSED
        self.deadline = NEVER
        if self._exchange is not None:
            self._exchange.disconnect()
            self._exchange = None
        # An application that runs on knows this object: it keeps nothing that was received or is to be sent.
        self._buffer = b""
        self._body = None
        self._corked.clear()
        self._chunk = 0
        self.resume_writing()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        self._service.unwanted -= self.refusal is TOO_MANY
        self._service.closed(self)

    # Called by the service.

    def expire(self) -> None:
        """The deadline has passed: of a head, of keep-alive, of a body, or of lingering."""
        if self._phase is HEAD and self._buffer:
            self.client = self._peer
            self._refuse(408, "the request head took too long")
        elif self._phase is EXCHANGE:
            self._expire_exchange()
        elif (self._answered or self._phase is not IDLE) and self._service.deliveries.is_due(self):
            # The client's time begins when it has taken what was sent.
            self.deadline = NEVER
        elif self._phase is CLOSED:
            self.transport.abort()
        else:
            self._close()

    def _expire_exchange(self) -> None:
        exchange = self._exchange
        if self._body is None or exchange is None:
            self._look_for_client()
        elif self._reading and exchange.intake is not WITHHELD:
            self._fail(BadRequest(408, "the request body took too long"))
        else:
            # Not the client's fault: the application does not take what has come, or has not asked for it yet.
            self._await_body()

    def _look_for_client(self) -> None:
        """The client has closed its side, perhaps only that: tell the application when it shows no sign of life any more.

        Its time begins with a tick. So a handler that blocks the event loop right behind the FIN uses up none of it.
        """
        silence = self._service.limits.half_closed_time
        if self.deadline == AT_NEXT_TICK or not is_silent(self.transport, silence):
            self.deadline = self._service.now + silence
        else:
            self.deadline = NEVER
            if self._exchange is not None:
                self._exchange.half_close()

    def _await_body(self) -> None:
        """From now on it is the client's turn to send more of the body."""
        self.deadline = self._service.now + 1 + self._service.limits.request_body_time

    def _prolong_body(self, size: int) -> None:
        """So many bytes came: time for as many more at the least rate, up to the longest pause."""
        limits = self._service.limits
        latest = self._service.now + 1 + limits.request_body_time
        rate = limits.request_body_rate
        self.deadline = min(latest, self.deadline + size / rate) if rate else latest

    def drain(self) -> None:
        """Nothing ends at once: the next response says that it is the last."""

    def stop(self) -> None:
        """A prompt stop: close if idle. A client that has just connected gets a second to make its request."""
        self._last = True
        if self._phase is IDLE and not self._buffer:
            self._leave()

    def _leave(self) -> None:
        """The client has not begun to ask: let another worker have the connection, or end it.

        What the client has sent meanwhile is still in the kernel and goes along. What TLS knows would not; nor can a queue
        that is full take it.
        """
        transport, hand_on = self.transport, self._service.hand_on
        if transport.get_write_buffer_size():
            # It is not idle while the client takes a response; what waits for that can't be handed on.
            self._service.deliveries.watch(self)
            if hand_on is not None and self._reading:
                # The next request is the next worker's.
                self._reading = False
                transport.pause_reading()
        elif (
            hand_on is not None
            and transport.get_extra_info("sslcontext") is None
            and hand_on(transport.get_extra_info("socket").fileno())
        ):
            self.abort()
        elif self._answered:
            self._close()
        else:
            self.deadline = min(self.deadline, self._service.now + 1)

    # Reading.

    def _read_head(self) -> None:
        """Start an exchange if the buffer holds a whole request head."""
        try:
            raw = self._whole_head(self._buffer)
            if raw is None:
                if not self._buffer and self._answered:
                    # Nothing but the empty line that some send behind a body: the connection is as idle as before.
                    self._next()
                return
            head = self._fast(raw)
            if head is None:
                sizes.check(raw, self._service.limits)
                head = self._service.codec(raw)
        except BadRequest as error:
            # Not for whom a proxy has asked before.
            self.client = self._peer
            self._refuse(error.status, error.reason)
            return
        self._checked = self._unlooked = 0
        self._skipped = False
        self._begin(head, self._buffer[len(raw) :])

    def _whole_head(self, data: bytes) -> bytes | None:
        """The request head at the start of ``data``; None while it is not whole. Raises BadRequest if it can't become one."""
        if data[:2] == b"\r\n" and not self._skipped:
            # RFC 9112 section 2.2: an empty line before the request line is ignored; one.
            self._skipped = True
            self._checked = 0
            self._buffer = data = data[2:]
        end = data.find(END, max(0, self._checked - 3)) + 4
        if end < 4:
            if self._phase is IDLE:
                self._phase = HEAD
                if self._answered:
                    # From its first byte on; for the first request, from the opening of the connection.
                    self.deadline = self._service.now + 1 + self._service.limits.request_head_time
            self._unlooked = sizes.check_unfinished(data, self._checked, self._service.limits)
            self._checked = len(data)
            return None
        return data[:end]

    def _begin(self, head: RequestHead, rest: bytes) -> None:
        """Run the request's exchange; ``rest`` is what came behind the head."""
        if self.refusal is not None:
            self._refuse(*self.refusal, method=head.method)
            return
        scope = self._scope
        self.client = self._peer
        terms = head.terms
        if terms is not PLAIN:
            if terms.proxied:
                if self._proxies is not None:
                    scope, self.client = self._proxies.unveil(scope, head.headers, self._peer)
                elif self._service.proxies is not None:
                    self._service.proxies.ignore(scope["client"])
            if terms.websocket and self._service.websocket is not None:
                self._hand_over(self._service.websocket(head, scope, self.client), rest)
                return
        self._phase = EXCHANGE
        self.deadline = NEVER
        self._exchange = exchange = Exchange(self._service, self, head, scope)
        if head.length == 0:
            self._buffer = rest
        elif not self._begin_body(exchange, head.length, rest):
            return
        exchange.start()

    def _begin_body(self, exchange: Exchange, length: int | None, rest: bytes) -> bool:
        """Expect a body of ``length`` bytes, or a chunked one (None), of which ``rest`` is here; False if it was refused."""
        limits = self._service.limits
        self._buffer = b""
        if length is not None and limits.body is not None and length > limits.body:
            exchange.await_body()
            self._fail(BadRequest(413, "request body too large"))
            return False
        if length == len(rest):
            # All of it is here already: nothing to wait for, nothing to count.
            exchange.feed(rest)
            return True
        exchange.await_body()
        self._body = ChunkedReader(limits.trailers, limits.body) if length is None else LengthReader(length)
        self._await_body()
        if rest:
            self._read_body(rest)
        return self._exchange is not None

    def _hand_over(self, successor: asyncio.Protocol, rest: bytes) -> None:
        """Another protocol takes the transport; this object is done with."""
        self._phase = CLOSED
        self.deadline = NEVER
        self.transport.set_protocol(successor)
        # The successor first: a service that waits until it is empty must not see a moment without any connection.
        successor.connection_made(self.transport)
        self._service.closed(self)
        if rest:
            successor.data_received(rest)

    def _read_body(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        try:
            piece = body.feed(data)
        except BadRequest as error:
            self._body = None
            self._fail(error)
            return
        if self._phase is DISCARD:
            # Not what is behind the body: that is another request.
            self._throw_away(len(data) - len(body.rest))
            if self._phase is not DISCARD:
                return
        elif self._exchange is not None:
            self._prolong_body(len(data))
            if piece:
                self._exchange.feed(piece)
        if body.complete:
            self._body = None
            self.deadline = NEVER
            self._buffer = body.rest
            if self._phase is DISCARD:
                self._next()
            elif self._exchange is not None:
                self._exchange.feed_end()
        elif body.more:
            self._resting = True
            self._service.loop.call_soon(self._read_on)
        self._regulate()

    def _read_on(self) -> None:
        """The others have had their turn: on with the body."""
        self._resting = False
        if self._body is not None:
            self._read_body(b"")
        else:
            self._regulate()

    def _regulate(self) -> None:
        """Read on only while what waits in memory is within bounds."""
        waiting = len(self._buffer) + (self._exchange.buffered if self._exchange is not None else 0)
        # A head has limits of its own, and nobody but the client can get it out of the buffer.
        wanted = (waiting < self._service.limits.buffer or self._phase is HEAD) and not self._resting
        if wanted is not self._reading and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self._service.clean_context().run(self.transport.resume_reading)
                if self._body is not None and self._phase is EXCHANGE:
                    # While we did not read, the client could not send.
                    self._await_body()
            else:
                self.transport.pause_reading()

    def consumed(self) -> None:
        if not self._reading:
            self._regulate()

    def ask_for_body(self) -> None:
        self.write_last(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._await_body()

    def respond(self, data: bytes, keep_alive: bool) -> None:
        """The response is complete with ``data``: on to the next request, or close."""
        if self._corked or not data:
            self.write_last(data)
        elif not self.transport.is_closing():
            # Without a call of write_last in the case that comes most often.
            self.transport.write(data)
        self._answered = True
        self._exchange = None
        if self._body is None and keep_alive:
            if self._buffer or self._last or not self._reading:
                self._next()
            else:
                # As _next would, but without a call in the case that comes most often.
                self._phase = IDLE
                self.deadline = self._service.idle_until
        elif not keep_alive:
            if self._body is None and not self._buffer:
                self._close()
            else:
                self._linger()
        else:
            self._phase = DISCARD
            self._surplus = 0
            self.deadline = self._service.now + 1 + self._service.limits.linger_time
            self._regulate()

    def _next(self) -> None:
        """Wait for the next request."""
        if self._buffer:
            # In a turn of its own: a client that pipelines must not hold up the others, nor deepen our stack. More may come
            # before that turn, hence HEAD: what comes is appended.
            self._phase = HEAD
            self.deadline = self._service.now + 1 + self._service.limits.request_head_time
            self._service.loop.call_soon(self._read_pipelined, context=self._service.clean_context())
            return
        self._phase = IDLE
        if self._last:
            self._close()
            return
        self.deadline = self._service.idle_until
        if not self._reading:
            self._regulate()

    def _read_pipelined(self) -> None:
        if self._phase is not HEAD:
            return
        self._read_head()
        self._regulate()
        if not self._eof:
            return
        if self._phase is EXCHANGE:
            # The FIN came with the pipeline. Its age only says how long the earlier requests took.
            self.deadline = AT_NEXT_TICK
        elif self._phase is HEAD and END not in self._buffer:
            # What is left is no whole request, and the client sends no more.
            self._close()
