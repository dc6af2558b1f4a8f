"""One HTTP/1.1 connection: it owns the transport, and runs one request after another on it.

The file is long because it is one object: each event of transport, client, stream and service, by the connection\'s phase.
"""

from __future__ import annotations

import asyncio

from ...errors import BadRequest
from ..context import Phase as ServicePhase
from ..delivery import ALERT_TIME, is_blocked, reset_when_closed
from ..departure import has_left, is_silent
from ..exchange import Exchange
from ..facts import Facts
from ..proxy.headers import Proxies, Strangers
from ..request import PLAIN, RequestHead
from ..scope import connection_scope
from ..writer import Writer
from .phase import BROKEN, CLOSED, DISCARD, EXCHANGE, HEAD, IDLE, LINGER
from .response import plain
from .shared import Http1
from .stream import Http1Stream

STOPPING = ServicePhase.STOPPING
NEVER = float("inf")
LINE_FEED = 0x0A
AT_NEXT_TICK = 0.0
"""A deadline that every tick of the service finds passed."""
MAX_DISCARDED = 16 * 1024 * 1024
"""Bytes of an unwanted body that are read and thrown away so that the connection can persist. A new connection would cost more
than to read a megabyte, and a client that is still sending would take the end of this one for an error."""
MAX_METHOD = 16
"""Bytes in which the method ends and a space follows, if the method is one that is counted by its name."""
MAX_LINGERED = 16 * 1024 * 1024
"""Bytes thrown away after a last response: many clients read it only when they have sent all of their body."""

Refusal = tuple[int, str, bytes]
"""Status, reason, and further header lines."""
TOO_MANY: Refusal = (503, "too many connections", b"retry-after: 1\r\n")
MISSES_TLS: Refusal = (400, "plain HTTP sent to a port that speaks TLS: ask for https", b"")


class HttpConnection(asyncio.Protocol):
    """One transport, and the requests that come on it: keep-alive, pipelining, what a client may take its time for, the end.

    The connection decides and its parts do: the *reader* turns bytes into heads and bodies, the *exchange* is the one request
    that is being answered, the *stream* turns its response into bytes, the *writer* sends them. The connection is always in
    one phase (see phase.py), which says what is done with bytes that arrive, and what a deadline means.

    *Pressure.* What waits in memory, as a body for the application or as pipelined requests, is bounded: above the limit the
    transport is not read, and the client finds that out from TCP. What waits for the client is the writer's.

    *Slow clients.* There is one deadline, checked by the service once a second; it is set wherever it is the client's turn: to
    send a head, a body at its least rate, the next request, or to take a last response. :meth:`expire` acts when it has passed.
    While something written is still with us, the client's time has not begun: the service's deliveries watch it, and call
    :meth:`delivered` when the client has all of it, or :meth:`cut_off` when it takes nothing for too long.

    *The end.* A client must get what was written and be able to tell whether that is all. Closing with input unread resets a
    TCP connection and can destroy a response on its way, so after a last response the connection *lingers*: it closes for
    writing and reads on for a while. A response that breaks off is told by its missing end, or else by a reset.
    """

    # Slots: of more attributes than thirty without, each would be found the slow way.
    __slots__ = (
        *("_eof", "_exchange", "_http1", "_last", "_peer", "_phase", "_proxies", "_reader", "_reading", "_refusal"),
        *("_resting", "_scope", "_service", "_stream", "_surplus", "_writer", "deadline", "transport"),
    )

    def __init__(self, http1: Http1, transport: asyncio.Transport, facts: Facts) -> None:
        self._http1 = http1
        self._service = service = http1.service
        self.transport = transport
        self._scope, self._peer = connection_scope(service, facts)
        self._reader = http1.make_reader()
        self._writer = Writer(service, transport)
        self._stream: Http1Stream | None = None
        """None until there is a first request, and when the connection is lost: the stream refers to this object."""
        self._exchange: Exchange | None = None
        self._phase = IDLE
        self._proxies: Proxies | Strangers | None = None
        """Reads what the peer's headers say of its client, or ignores it; None until there are such headers."""
        self._refusal: Refusal | None = MISSES_TLS if facts.misses_tls else None
        """What the first request is answered with, whatever it is."""
        self._reading = True
        self._resting = False
        """What has come holds more of the body, which is read in the next turn."""
        self._eof = False
        """The client sends no more."""
        self._last = False
        """After what has come there is nothing more to wait for: the client sends no more, or the worker stops."""
        self._surplus = 0
        """Bytes thrown away since the response."""
        self.deadline = service.deadline_in(service.limits.request_head_time)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        service = self._service
        service.opened(self)
        if service.is_crowded():
            self._refusal = TOO_MANY
            service.unwanted += 1
        if service.phase is STOPPING:
            # It waited in the listener's queue when the others were told.
            self.stop()

    def data_received(self, data: bytes) -> None:
        self._service.meters.received += len(data)
        phase = self._phase
        if phase is IDLE:
            # Called from a variable: CPython 3.11 finds an attribute slowly that is called and is no method.
            fast = self._reader.fast
            # A head ends with a line feed. To look for all of its end here would cost more than this saves the lane.
            if data[-1] == LINE_FEED and (head := fast(data)) is not None:
                self._begin(head)
                return
        if phase is IDLE or phase is HEAD:
            try:
                head = self._reader.take(data)
            except BadRequest as error:
                if error.status != 505 or not self._turn_to_http2():
                    self._refuse(error.status, error.reason)
                return
            if head is not None:
                self._begin(head)
            else:
                self._await_head()
        elif phase is EXCHANGE or phase is DISCARD:
            if self._reader.body is not None:
                self._read_body(data)
            else:
                self._reader.hold(data)
                self._regulate()
        elif phase is LINGER:
            self._throw_away(len(data))

    def eof_received(self) -> bool:
        """The client has closed its side. It still gets the answers to what it has asked (RFC 9112 section 9.6)."""
        self._eof = self._last = True
        if not self.transport.can_write_eof():
            # asyncio can't keep half a TLS connection: it closes, and complains if it is asked not to.
            return False
        if self._phase is BROKEN:
            # To close now would say that the response was whole.
            return True
        if self._phase is EXCHANGE and self._reader.body is None:
            if self._exchange is not None and has_left(self.transport):
                self._exchange.half_close()
            else:
                self.deadline = AT_NEXT_TICK
            return True
        return self._phase is HEAD and self._reader.has_head

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = CLOSED
        self.deadline = NEVER
        if self._exchange is not None:
            self._exchange.disconnect()
            self._exchange = None
        # An application that runs on keeps this object alive: it must not keep what was received or is to be sent.
        self._stream = None
        self._reader.clear()
        self._writer.lose()
        self._service.unwanted -= self._refusal is TOO_MANY
        self._service.closed(self)

    def pause_writing(self) -> None:
        self._service.deliveries.watch(self)
        self._writer.pause()

    def resume_writing(self) -> None:
        self._writer.resume()

    # Heads.

    def _await_head(self) -> None:
        """What has come is no whole head yet."""
        if not self._reader.buffer and self._answered:
            # Only the empty line that some clients send behind a body has come: the connection is as idle as before.
            self._next()
        elif self._phase is IDLE:
            self._phase = HEAD
            if self._answered:
                # From its first byte on; for the first request, from the opening of the connection.
                self.deadline = self._service.deadline_in(self._service.limits.request_head_time)

    def _begin(self, head: RequestHead) -> None:
        """Run the request's exchange."""
        service, scope, client = self._service, self._scope, self._peer
        stream = self._stream
        if stream is None:
            if self._refusal is not None:
                service.meters.counter(head.method, self._refusal[0])(0.0)
                self._refuse(*self._refusal, method=head.method)
                return
            stream = self._stream = Http1Stream(self._http1, self._writer, self)
        terms = head.terms
        if terms is not PLAIN:
            if terms.proxied and service.proxies is not None:
                if self._proxies is None:
                    self._proxies = service.proxies.of_peer(scope["client"], scope["server"])
                scope, client = self._proxies.unveil(scope, head.headers, client)
            if terms.websocket and service.websocket is not None:
                self._hand_over(service.websocket(self.transport, head, scope, client))
                return
        stream.request = head
        stream.client = client
        stream.body_sent = 0
        self._phase = EXCHANGE
        self.deadline = NEVER
        self._exchange = exchange = Exchange(service, stream, head, scope)
        if self._writer.bursts:
            self._writer.begin_burst(exchange.since)
        if head.length == 0 or self._begin_body(exchange, stream, head):
            exchange.start()

    def _hand_over(self, successor: asyncio.Protocol) -> None:
        """Another protocol takes the transport; this object is done with."""
        self._phase = CLOSED
        self.deadline = NEVER
        # It refers to this object: the two would keep each other alive.
        self._stream = None
        rest = self._reader.buffer
        self.transport.set_protocol(successor)
        # The successor first: a service that waits until it is empty must not see a moment without any connection.
        successor.connection_made(self.transport)
        self._service.closed(self)
        if rest:
            # The successor counts it.
            self._service.meters.received -= len(rest)
            successor.data_received(rest)

    def _turn_to_http2(self) -> bool:
        """Hand the transport over if what has come is how HTTP/2 begins (RFC 9113 section 3.4); returns whether it is."""
        make, is_unwanted = self._service.http2, self._refusal is TOO_MANY
        if make is None or self._answered or (self._refusal is not None and not is_unwanted):
            return False
        if not self._reader.buffer.startswith(b"PRI * HTTP/2.0\r\n\r\n"):
            return False
        self._refusal = None
        self._hand_over(make(self.transport, self._scope, self._peer, is_unwanted))
        return True

    def _next(self) -> None:
        """Wait for the next request."""
        if self._reader.buffer:
            # In a turn of its own: a client that pipelines must not hold up the others, nor deepen our stack. More may come
            # before that turn, hence HEAD: what comes is appended.
            self._phase = HEAD
            self.deadline = self._service.deadline_in(self._service.limits.request_head_time)
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
        try:
            head = self._reader.next()
        except BadRequest as error:
            self._refuse(error.status, error.reason)
        else:
            if head is not None:
                self._begin(head)
            else:
                self._await_head()
        self._regulate()
        if not self._eof:
            return
        if self._phase is EXCHANGE:
            # The FIN came with the pipeline. Its age only says how long the earlier requests took.
            self.deadline = AT_NEXT_TICK
        elif self._phase is HEAD and not self._reader.has_head:
            # What is left is no whole request, and the client sends no more.
            self._close()

    # Bodies.

    def _begin_body(self, exchange: Exchange, stream: Http1Stream, head: RequestHead) -> bool:
        """Expect the request's body; False if it was refused."""
        reader = self._reader
        try:
            piece = reader.begin_body(head.length)
        except BadRequest as error:
            exchange.await_body()
            self._fail(error)
            return False
        if piece:
            exchange.feed(piece)
        if reader.body is not None:
            exchange.await_body()
            stream.withheld = head.terms.expect_continue
            self.await_body()
            self._prolong_body(len(piece))
            self._read_on_soon()
            self._regulate()
        return True

    def _read_body(self, data: bytes) -> None:
        reader = self._reader
        try:
            piece = reader.read(data)
        except BadRequest as error:
            self._fail(error)
            return
        if self._phase is DISCARD:
            # What is behind the body is another request.
            self._throw_away(len(data) - len(reader.buffer))
            if self._phase is not DISCARD:
                return
        elif self._exchange is not None:
            self._prolong_body(len(data))
            if piece:
                self._exchange.feed(piece)
        if reader.body is not None:
            self._read_on_soon()
        else:
            self.deadline = NEVER
            if self._phase is DISCARD:
                self._next()
            elif self._exchange is not None and self._stream is not None:
                self._stream.withheld = False
                self._exchange.feed_end()
        self._regulate()

    def _read_on_soon(self) -> None:
        """Read the rest of what has come when the others have had their turn, if it was too much for one."""
        if self._reader.has_more:
            self._resting = True
            self._service.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._resting = False
        if self._reader.body is not None:
            self._read_body(b"")
        else:
            self._regulate()

    @property
    def _answered(self) -> bool:
        """Whether at least one request was, if the next one is awaited."""
        return self._stream is not None

    @property
    def waiting(self) -> int:
        """Bytes received that wait in memory: to be interpreted, or for the application."""
        return len(self._reader.buffer) + (self._exchange.buffered if self._exchange is not None else 0)

    def _regulate(self) -> None:
        """Read on only while what waits in memory is within bounds."""
        # A head has limits of its own, and only its rest can get it out of the buffer.
        wanted = (self.waiting < self._service.limits.buffer or self._phase is HEAD) and not self._resting
        if wanted is not self._reading and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self._service.clean_context().run(self.transport.resume_reading)
                if self._reader.body is not None and self._phase is EXCHANGE:
                    # While we did not read, the client could not send.
                    self.await_body()
            else:
                self.transport.pause_reading()

    # Called by the stream.

    def answered(self, keep_alive: bool) -> None:
        """The response is complete: on to the next request, or close."""
        self._exchange = None
        reader = self._reader
        if not keep_alive:
            if reader.body is None and not reader.buffer:
                self._close()
            else:
                self._linger()
        elif reader.body is not None:
            self._phase = DISCARD
            self._surplus = 0
            self.deadline = self._service.deadline_in(self._service.limits.linger_time)
            self._regulate()
        elif reader.buffer or self._last or not self._reading:
            self._next()
        else:
            # As _next would, but without a call in the case that comes most often.
            self._phase = IDLE
            self.deadline = self._service.idle_until

    def consumed(self) -> None:
        if not self._reading:
            self._regulate()

    def break_off(self, ends_body: bool) -> None:
        self._exchange = None
        self._writer.flush()
        if not ends_body:
            self._close()
            return
        # Where the connection's end is that of the body, only a reset says that it came too soon.
        reset_when_closed(self.transport)
        if self._service.deliveries.is_due(self):
            # It would destroy what the client's system has not confirmed yet: whole responses, too, if they were pipelined.
            self._phase = BROKEN
            self._reader.clear()
        else:
            self.abort()

    # Slow clients: deadlines.

    def await_body(self) -> None:
        """From now on it is the client's turn to send more of the body."""
        self.deadline = self._service.deadline_in(self._service.limits.request_body_time)

    def _prolong_body(self, size: int) -> None:
        """So many bytes came: the client gets more time."""
        self.deadline = self._service.prolong_body(self.deadline, size)

    def expire(self) -> None:
        """The deadline has passed: of a head, of keep-alive, of a body, or of lingering."""
        if self._phase is HEAD and self._reader.buffer:
            self._refuse(408, "the request head took too long")
        elif self._phase is EXCHANGE:
            self._expire_exchange()
        elif (self._answered or self._phase is not IDLE) and self._service.deliveries.is_due(self):
            # The client's time begins when it has taken what was sent.
            self.deadline = NEVER
        elif self._phase is CLOSED:
            self.transport.abort()
        elif self._phase is DISCARD:
            self._linger()
        else:
            self._close()

    def _expire_exchange(self) -> None:
        if self._reader.body is None or self._stream is None:
            self._look_for_client()
        elif self._reading and not self._stream.withheld:
            self._fail(BadRequest(408, "the request body took too long"))
        else:
            # Not the client's fault: the application does not take what has come, or has not asked for it yet.
            self.await_body()

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

    # Slow clients: what they have yet to take.

    def is_owed(self) -> bool:
        return self._phase in (IDLE, DISCARD, LINGER, CLOSED) and is_blocked(self.transport)

    def delivered(self) -> None:
        phase, service = self._phase, self._service
        if phase is IDLE and self._last:
            self._leave()
        elif phase is IDLE:
            self.deadline = service.idle_until
        elif phase is DISCARD or phase is LINGER:
            self.deadline = service.deadline_in(service.limits.linger_time)
        elif phase is BROKEN:
            self.abort()
        elif phase is CLOSED:
            self.deadline = service.now + ALERT_TIME
        elif self._exchange is not None and self._stream is not None and self._stream.sends_file:
            # There is more to send: the disk is slower than the client.
            service.deliveries.watch(self)

    def cut_off(self) -> None:
        if is_blocked(self.transport):
            reset_when_closed(self.transport)
        elif self._phase is EXCHANGE:
            # It does not keep us from sending more.
            return
        self.abort()

    # The end.

    def drain(self) -> None:
        """Nothing ends at once: the next response says that it is the last."""

    def lasts(self) -> bool:
        """Whether an event stream is on it."""
        return self._exchange is not None and self._exchange.is_event_stream

    def part(self) -> None:
        """End the event stream."""
        if self._exchange is not None:
            self._exchange.end_stream()

    def stop(self) -> None:
        """A prompt stop: close if idle. A client that has just connected gets a second to make its request."""
        self._last = True
        if self._phase is IDLE:
            self._leave()

    def _leave(self) -> None:
        """The client has not begun to ask: let another worker have the connection, or end it.

        What the client has sent meanwhile is still in the kernel and goes along. What TLS knows would not; nor can a queue
        that is full take it.
        """
        transport, hand_off = self.transport, self._service.hand_off
        if transport.get_write_buffer_size():
            # It is not idle while the client takes a response; what waits for that can't be handed on.
            self._service.deliveries.watch(self)
            if hand_off is not None and self._reading:
                # The next request is the next worker's.
                self._reading = False
                transport.pause_reading()
        elif (
            hand_off is not None
            and transport.get_extra_info("sslcontext") is None
            and hand_off(transport.get_extra_info("socket").fileno())
        ):
            self.abort()
        elif self._answered:
            self._close()
        else:
            self.deadline = min(self.deadline, self._service.deadline_in(0))

    def _refuse(self, status: int, reason: str, extra: bytes = b"", *, method: str | None = None) -> None:
        """Answer the client's mistake; nothing after it on the connection is interpreted.

        ``extra``: further header lines. ``method``: that of the request, if its exchange had begun (and has logged it);
        otherwise what has come of it tells.
        """
        # RFC 9110 section 9.3.2: no content in a response to HEAD, whatever its status is.
        came = bytes(self._reader.buffer[:MAX_METHOD]).partition(b" ")[0].decode("latin-1")
        is_head = (came if method is None else method) == "HEAD"
        self._reader.clear()
        self._writer.write_last(plain(status, reason, self._http1.heads, extra=extra, with_body=not is_head))
        if method is None:
            self._service.meters.counter(came, status)(0.0)
            if self._service.access is not None:
                self._service.access(self._peer, "-", "-", "1.1", status, None)
        self._linger()

    def _fail(self, error: BadRequest) -> None:
        """The body of the current request turned out malformed, or too large or too slow."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or self._stream is None:
            # It has been answered, and the rest of its body was being thrown away.
            self._close()
        elif self._stream.has_head:
            exchange.disconnect(exchange.status)
            self._close()
        else:
            exchange.disconnect(error.status)
            self._refuse(error.status, error.reason, method=exchange.request.method)

    def _linger(self) -> None:
        """Close for writing, and go on reading for a while (RFC 9112 section 9.6)."""
        if self._eof or self.transport.is_closing():
            self._close()
            return
        self._phase = LINGER
        self._surplus = 0
        self._reader.clear()
        self.deadline = self._service.deadline_in(self._service.limits.linger_time)
        self._writer.close_for_writing()
        self._regulate()

    def _throw_away(self, size: int) -> None:
        self._surplus += size
        if self._phase is DISCARD and self._surplus > MAX_DISCARDED:
            self._linger()
        elif self._surplus > MAX_LINGERED:
            self.abort()

    def _close(self) -> None:
        """Close once all that is written has been sent."""
        self._phase = CLOSED
        self.deadline = NEVER
        if self._writer.close():
            self._service.deliveries.watch(self)

    def abort(self) -> None:
        self._phase = CLOSED
        self.transport.abort()
