"""One HTTP/2 connection: it owns the transport, and runs many requests on it side by side (RFC 9113).

The file is long because it is one object: each event of transport, client, streams and service, by the connection's phase.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from ...errors import BadRequest
from ..asgi import Scope
from ..context import Phase as ServicePhase
from ..context import Service, Successor, Work
from ..delivery import ALERT_TIME, is_blocked, reset_when_closed
from ..departure import has_closed
from ..exchange import Exchange
from ..request import RequestHead
from ..tls import is_fit_for_http2
from ..writer import Writer
from . import frames
from .bodies import Bodies
from .calm import Calm
from .flow import Output, Sending
from .frames import ConnectionFault, StreamFault
from .head import URGENCY, Request
from .phase import CLOSED, LEAVING, LEFT, LINGER, OPEN
from .receiver import Receiver
from .response import ResponseHeads
from .stream import Http2Stream

NEVER = float("inf")
AT_NEXT_TICK = 0.0
"""A deadline that every tick of the service finds passed."""
MAX_STREAMS = 100
"""Requests at once on a connection: the least that RFC 9113 section 6.5.2 recommends, and what browsers count on."""
MAX_LINGERED = 16 * 1024 * 1024
"""Bytes thrown away after a GOAWAY: many clients read it only when they have sent what they have."""
MAX_FLOODED = 64 * 1024
"""The same after a flood, which would go on: to throw its bytes away would keep the event loop from others."""
FAREWELL_TIME = 5.0
"""Seconds from the first GOAWAY to the last one, if the client does not say sooner that it has read the first. Until it has, it
may send requests that the last one refuses, and a proxy on a busy machine may be that late."""
PROMPT_TIME = 1.0
"""The same when the server stops."""
FAREWELL = b"farewell"
"""What the PING behind the first GOAWAY brings."""
STARTS_AT_ONCE = sys.version_info >= (3, 12)
"""Exchanges begin to run when they are started, not in the loop's next turn (see Service.make_task)."""
TOO_MANY = BadRequest(503, "too many connections")
NO_PROTOCOL = BadRequest(501, "protocol not supported")
RETRY = b"retry-after: 1\r\n"


def make_http2(service: Service) -> Successor:
    """What makes the service's connections of HTTP/2."""
    heads = ResponseHeads(service.defaults)
    return lambda transport, scope, peer, is_unwanted: Http2Connection(service, transport, scope, peer, heads, is_unwanted)


class Http2Connection(asyncio.Protocol):
    """One transport, and the requests on it: their streams, the client's deadlines, the end.

    The connection decides and its parts do: the *receiver* turns bytes into requests and bodies, each *exchange* is one
    request, its *stream* turns the response into frames, the *output* sends them in fair turns and within the client's windows.

    *Pressure.* A body that waits for its application is bounded by its stream's window, which is given back as the application
    takes it. What waits for the client is bounded as for HTTP/1.1, for each stream (see Output.room).

    *Slow clients.* While a body is awaited or something waits for a window, every tick looks at the streams (:meth:`expire`). A
    client that takes nothing of what was written is the business of the service's deliveries.

    *The end.* A client is told twice that we leave: first that we are going to, then, when it has heard that, which stream was
    the last. So no request is lost on the way (RFC 9113 section 6.8).
    """

    __slots__ = (
        *("_begun", "_bodies", "_counted", "_early", "_head_until", "_heads", "_is_unwanted", "_left", "_orphans"),
        *("_output", "_peer", "_phase", "_proxies", "_receiver", "_scope", "_service"),
        *("_surplus", "_writer", "deadline", "streams", "transport"),
    )

    def __init__(
        self,
        service: Service,
        transport: asyncio.Transport,
        scope: Scope,
        peer: str,
        heads: ResponseHeads,
        is_unwanted: bool | None = None,
    ) -> None:
        """``scope`` and ``peer`` are as of :func:`connection_scope`; ``is_unwanted`` is as in Successor."""
        self._service = service
        self.transport = transport
        self._scope = scope
        self._peer = peer
        self._heads = heads
        calm = Calm(service.loop.time)
        self._receiver = Receiver(self, service.limits, calm)
        self._writer = Writer(service, transport)
        self._output = Output(service, self._writer, calm, self._finished, self._watch)
        self.streams: dict[int, Http2Stream] = {}
        self._bodies = Bodies(service, self.streams, self._output, self._watch)
        self._early: dict[int, int] = {}
        """The urgency of streams that are not open yet."""
        self._orphans: set[Work] = set()
        """Exchanges that may still run, though the client has reset their streams."""
        self._phase = OPEN
        proxies = service.proxies
        self._proxies = proxies.of_peer(scope["client"], scope["server"]) if proxies is not None else None
        """Reads what the peer's headers say of its client, or ignores it; None without ``--proxy-headers``."""
        self._is_unwanted = is_unwanted
        """Whether every request is answered 503."""
        self._counted = 0
        """Streams that the service counts beside the connection."""
        self._begun: list[Exchange] = []
        """Exchanges of what is being read, to start when all of it is read."""
        self._surplus = 0
        """Bytes thrown away while lingering."""
        self._left = NEVER
        """When the second GOAWAY is due."""
        self._head_until = service.deadline_in(service.limits.request_head_time)
        """Until when the first request has to come, or the rest of a header block."""
        self.deadline = self._head_until

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        service, limits = self._service, self._service.limits
        service.multiplexed += 1
        service.opened(self)
        if self._is_unwanted is None:
            self._is_unwanted = service.is_crowded()
            service.unwanted += self._is_unwanted
        values = {
            frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            frames.INITIAL_WINDOW_SIZE: self._bodies.window,
            frames.MAX_HEADER_LIST_SIZE: limits.head,
            frames.NO_RFC7540_PRIORITIES: 1,
            frames.ENABLE_CONNECT_PROTOCOL: int(service.websocket is not None),
        }
        self._writer.hold(frames.settings(values) + frames.window_update(0, self._bodies.total - frames.DEFAULT_WINDOW))
        tls = (self._scope["extensions"] or {}).get("tls")
        if tls is not None and not is_fit_for_http2(tls["tls_version"], transport.get_extra_info("cipher")):
            self._die(ConnectionFault(frames.INADEQUATE_SECURITY, "HTTP/2 needs a cipher suite with forward secrecy and AEAD"))
        elif service.phase is not ServicePhase.SERVING or self._is_unwanted:
            # This connection waited in the listener's queue when the others were told to drain.
            self.drain()

    def data_received(self, data: bytes) -> None:
        self._service.meters.received += len(data)
        self._read(data)

    def _read(self, data: bytes) -> None:
        if self._phase is LINGER or self._phase is CLOSED:
            self._surplus += len(data)
            if self._surplus > MAX_LINGERED:
                self.abort()
            return
        output, receiver = self._output, self._receiver
        output.collecting = True
        try:
            receiver.take(data)
        except ConnectionFault as fault:
            self._die(fault)
            return
        if not receiver.is_amid_head:
            if receiver.last and self._head_until != NEVER:
                self._head_until = NEVER
                if self._service.phase is not ServicePhase.SERVING:
                    self.drain()
        elif self._head_until == NEVER:
            self._head_until = self._service.deadline_in(self._service.limits.request_head_time)
            self.deadline = AT_NEXT_TICK
        if not self._begun:
            output.release()
        else:
            self._start_begun(self._begun)
        if receiver.is_behind and not self.transport.is_closing():
            # Others have their turn first, and what was started.
            self.transport.pause_reading()
            self._service.loop.call_soon(self._read_on)

    def _start_begun(self, begun: list[Exchange]) -> None:
        """Start what was read, unless the client has taken it back already: a request and its end in one read cost no task,
        and the application never hears of it. Answers to several requests leave together."""
        is_single = len(begun) == 1
        if is_single:
            # Its answer leaves at once: the application may block afterwards.
            self._output.release()
        for exchange in begun:
            if not exchange.client_done:
                exchange.start()
        begun.clear()
        if STARTS_AT_ONCE:
            self._output.release()
        elif not is_single:
            # What was started runs before what is scheduled now.
            self._service.loop.call_soon(self._output.release)

    def _read_on(self) -> None:
        """Read what was too much for the last turn."""
        if not self.transport.is_closing():
            self._read(b"")
            if not self._receiver.is_behind:
                self.transport.resume_reading()

    def eof_received(self) -> bool:
        """Close: a client that sends nothing more opens no more windows, so little could be sent to it."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = CLOSED
        self.deadline = NEVER
        self._end_streams()
        self._receiver.lose()
        self._bodies.lose()
        self._output.lose()
        self._writer.lose()
        self._service.unwanted -= bool(self._is_unwanted)
        self._service.multiplexed -= 1
        self._service.closed(self)

    def pause_writing(self) -> None:
        self._service.deliveries.watch(self)
        self._output.is_full = True
        self._writer.pause()

    def resume_writing(self) -> None:
        self._output.is_full = False
        self._writer.resume()
        self._output.wake()

    # Called by the receiver: requests (see receiver.Owner).

    def begin(self, stream: int, request: Request, end: bool) -> None:
        service, streams, head = self._service, self.streams, request.head
        if self._phase is not OPEN and self._phase is not LEAVING:
            raise StreamFault(frames.REFUSED_STREAM, "the server leaves")
        if len(streams) >= MAX_STREAMS or (self._orphans and self._is_crowded()):
            raise StreamFault(frames.REFUSED_STREAM, "too many streams")
        if end and request.length:
            raise StreamFault(frames.PROTOCOL_ERROR, "no body though Content-Length tells of one")
        if streams and service.limits.concurrency is not None and service.is_crowded(1):
            self.reject(stream, TOO_MANY, end, head.method)
            return
        is_tunnel = request.protocol == "websocket" and service.websocket is not None and not end
        if self._is_unwanted or (request.protocol and not is_tunnel):
            self.reject(stream, TOO_MANY if self._is_unwanted else NO_PROTOCOL, end, head.method)
            return
        scope, client = self._scope, self._peer
        if head.terms.proxied and self._proxies is not None:
            scope, client = self._proxies.unveil(scope, head.headers, client)
        urgency = self._early.pop(stream, request.urgency) if self._early else request.urgency
        opened = Http2Stream(self, service, self._output, self._heads, stream, head, client, urgency)
        if not streams:
            self.deadline = NEVER if self._phase is OPEN else AT_NEXT_TICK
        self._output.is_alone = not streams
        streams[stream] = opened
        self._count_streams()
        if is_tunnel:
            self._open_tunnel(opened, request, scope)
        else:
            self._start(opened, request, scope, end)

    def _start(self, opened: Http2Stream, request: Request, scope: Scope, end: bool) -> None:
        """Run the request's exchange, once all that has come is read."""
        opened.exchange = exchange = Exchange(self._service, opened, request.head, scope)
        if not end:
            exchange.await_body()
            error = self._bodies.begin(opened, request)
            if error is not None:
                self._fail_body(opened, error)
                return
        self._begun.append(exchange)

    def _open_tunnel(self, stream: Http2Stream, request: Request, scope: Scope) -> None:
        """Speak WebSocket on a stream (RFC 8441)."""
        from .tunnel import Tunnel

        make = self._service.websocket
        assert make is not None
        stream.is_tunnel = True
        extra = {name: self.transport.get_extra_info(name) for name in ("peername", "sockname", "sslcontext")}
        tunnel = Tunnel(self._service, self._output, self._heads, stream, extra)
        self._bodies.begin(stream, request)
        stream.exchange = tunnel
        protocol = make(tunnel, request.head, scope, stream.client)
        tunnel.set_protocol(protocol)
        protocol.connection_made(tunnel)

    def reject(self, stream: int, error: BadRequest, end: bool, method: str) -> None:
        if self._phase is not OPEN and self._phase is not LEAVING:
            raise StreamFault(frames.REFUSED_STREAM, "the server leaves")
        if len(self.streams) >= MAX_STREAMS:
            raise StreamFault(frames.REFUSED_STREAM, "too many streams")
        head = RequestHead(method, b"/", ("/", b"/", b""), ())
        opened = Http2Stream(self, self._service, self._output, self._heads, stream, head, self._peer, URGENCY)
        opened.body_ended = end
        self.streams[stream] = opened
        if self._service.access is not None:
            self._service.access(self._peer, "-", "-", "2", error.status, None)
        opened.refuse(error.status, error.reason, RETRY if error is TOO_MANY else b"")

    def _is_crowded(self) -> bool:
        """Whether too many exchanges still run whose streams the client has reset. So it can't start work without end."""
        self._orphans &= self._service.in_flight
        return len(self._orphans) >= MAX_STREAMS

    # Called by the receiver: bodies.

    def take_data(self, stream: int, data: bytes, size: int, end: bool) -> None:
        error = self._bodies.take(stream, data, size, end)
        if error is not None:
            self._fail_body(self.streams[stream], error)

    def check_open(self, stream: int) -> bool:
        return self._bodies.check_open(stream)

    def end_body(self, stream: int) -> None:
        self._bodies.end(stream)

    def lost(self, stream: int) -> None:
        opened = self.streams.pop(stream, None)
        if opened is not None:
            self._abandon(opened)

    # Called by the receiver: what concerns the connection.

    def widen(self, stream: int, size: int) -> None:
        self._output.widen(self.streams.get(stream) if stream else None, size, is_all=stream == 0)

    def configure(self, values: list[tuple[int, int]]) -> None:
        for name, value in values:
            if name == frames.INITIAL_WINDOW_SIZE:
                self._receiver.calm.spend(len(self.streams) / 10)
                self._output.resize([*self.streams.values()], value)
            elif name == frames.HEADER_TABLE_SIZE:
                # We use none, but a client that makes it smaller has to hear that (RFC 7541 section 4.2).
                self._output.update = b"\x20"

    def prioritize(self, stream: int, urgency: int) -> None:
        opened = self.streams.get(stream)
        if opened is not None:
            self._output.prioritize(opened, urgency)
        elif stream > self._receiver.last:
            if len(self._early) >= MAX_STREAMS:
                # The one told first may be of a stream that was never opened.
                del self._early[next(iter(self._early))]
            self._early[stream] = urgency

    def answer(self, frame: bytes) -> None:
        self._output.control(frame)

    def pong(self, payload: bytes) -> None:
        if payload == FAREWELL and self._phase is LEAVING:
            self._leave()

    def leaving(self) -> None:
        """The client will send no more requests: close after the last response."""
        if not self.streams:
            self._linger()

    def fail(self, stream: int, fault: StreamFault) -> None:
        self._bodies.ignored.append(stream)
        self._output.control(frames.reset(stream, fault.code))
        opened = self.streams.pop(stream, None)
        if opened is not None:
            exchange = opened.exchange
            self._abandon(opened, (exchange.status if exchange is not None and opened.has_head else 400))

    # Called by streams (see stream.Owner) and by the output.

    def has_closed(self) -> bool:
        return has_closed(self.transport)

    def owes(self) -> bool:
        return self.transport.get_write_buffer_size() > 0

    def tell(self, end: Callable[[int], None]) -> None:
        self._service.deliveries.tell(self, end)

    def give_back(self, stream: Http2Stream) -> None:
        self._bodies.give_back(stream)

    def break_off(self, stream: Http2Stream) -> None:
        if self.streams.pop(stream.id, None) is not None:
            self._bodies.ignored.append(stream.id)
            self._output.control(frames.reset(stream.id, frames.INTERNAL_ERROR))
            self._abandon(stream)

    def await_body(self, stream: Http2Stream) -> None:
        self._bodies.wait_for(stream)

    def _watch(self) -> None:
        """It is the client's turn: to send a body, or to take one."""
        self.deadline = AT_NEXT_TICK

    def _finished(self, sending: Sending) -> None:
        """A stream's last frame is on its way."""
        stream = self.streams.pop(sending.id, None)
        if stream is None:
            return
        if not stream.body_ended:
            # Section 8.1: the rest of the body is not needed.
            self._bodies.ignored.append(stream.id)
            self._output.control(frames.reset(stream.id, frames.NO_ERROR))
        stream.complete()
        self._count_streams()
        if not self.streams:
            self._rest()

    def _count_streams(self) -> None:
        """Tell the service how many streams there are, if there is a limit of concurrency."""
        if self._service.limits.concurrency is not None:
            beyond = max(0, len(self.streams) - 1)
            self._service.streams += beyond - self._counted
            self._counted = beyond

    def _abandon(self, stream: Http2Stream, status: int | None = None) -> None:
        exchange = stream.lose(status)
        if isinstance(exchange, Exchange) and exchange in self._service.in_flight:
            self._orphans.add(exchange)
        self._count_streams()
        if not self.streams:
            self._rest()

    def _end_streams(self, *, cancel: bool = False) -> None:
        """Nothing can be sent any more. ``cancel``: applications need not go on with what the client has asked for."""
        streams = [*self.streams.values()]
        self.streams.clear()
        self._begun.clear()
        self._count_streams()
        for stream in streams:
            exchange = stream.lose()
            if isinstance(exchange, Exchange):
                self._orphans.add(exchange)
        if cancel:
            for work in self._orphans & self._service.in_flight:
                work.cancel()
        self._orphans.clear()

    def _rest(self) -> None:
        """No stream is open any more: wait for the next one, or end the connection."""
        if self._phase is OPEN:
            self.deadline = self._service.idle_until
        elif self._phase is LEFT:
            self._linger()
        else:
            self.deadline = self._left

    # Slow clients.

    def expire(self) -> None:
        now, phase = self._service.now, self._phase
        if phase is CLOSED:
            self.transport.abort()
        elif phase is LINGER:
            if self._service.deliveries.is_due(self):
                self.deadline = NEVER
            else:
                self._close()
        elif now >= self._head_until and (self._receiver.is_amid_head or not self.streams):
            self._die(ConnectionFault(frames.NO_ERROR, "the request took too long"))
        elif now >= self._left:
            self._leave()
        elif self.streams:
            self._look(now)
        elif self._service.deliveries.is_due(self):
            # The client's time begins when it has taken what was sent.
            self.deadline = NEVER
        elif phase is OPEN:
            self.drain()

    def _look(self, now: float) -> None:
        """See which streams wait for their client, and for how long. What the output collects meanwhile leaves together."""
        limits, waits = self._service.limits, self._receiver.is_amid_head or self._left != NEVER
        for stream in list(self.streams.values()):
            if stream.waiting:
                waits = True
                if self._output.is_full:
                    stream.moved = now
                elif now > stream.moved + limits.send_time:
                    self._bodies.ignored.append(stream.id)
                    self._output.control(frames.reset(stream.id, frames.CANCEL))
                    del self.streams[stream.id]
                    self._abandon(stream)
            elif not stream.body_ended:
                waits = True
                if self._bodies.is_late(stream):
                    self._fail_body(stream, BadRequest(408, "the request body took too long"))
        if self.streams:
            self.deadline = AT_NEXT_TICK if waits else NEVER

    def _fail_body(self, stream: Http2Stream, error: BadRequest) -> None:
        """The body of a request turned out too large or too slow."""
        exchange, stream.exchange = stream.exchange, None
        if exchange is not None:
            exchange.disconnect(exchange.status if stream.has_head else error.status)
        if stream.has_head:
            self.break_off(stream)
        else:
            stream.refuse(error.status, error.reason)

    # Slow clients: what they have yet to take.

    def is_owed(self) -> bool:
        return not self.streams and is_blocked(self.transport)

    def delivered(self) -> None:
        service = self._service
        if self._phase is CLOSED:
            self.deadline = service.now + ALERT_TIME
        elif self._phase is LINGER:
            self.deadline = service.deadline_in(service.limits.linger_time)
        elif not self.streams and self.deadline == NEVER:
            self._rest()

    def cut_off(self) -> None:
        if is_blocked(self.transport):
            reset_when_closed(self.transport)
        elif self.streams:
            # The kernel still takes what we write. Each stream has a time-out of its own for closed windows.
            return
        self.abort()

    # The end.

    def drain(self) -> None:
        """Tell the client that we leave. Requests that it sends before it reads that are still served.

        In a reload a client that has not asked yet is told after its first request: a proxy opens a connection for requests
        that wait, sends them when it has our SETTINGS, and fails them if a GOAWAY comes with it.
        """
        if self._phase is not OPEN:
            return
        if not self._receiver.last and self._service.phase is ServicePhase.DRAINING and not self._is_unwanted:
            self._head_until = min(self._head_until, self._service.deadline_in(FAREWELL_TIME))
            self.deadline = self._head_until
            return
        self._phase = LEAVING
        self._left = self._service.deadline_in(FAREWELL_TIME)
        self.deadline = min(self.deadline, self._left) if not self.streams else AT_NEXT_TICK
        self._output.control(
            frames.goaway(frames.MAX_STREAM_ID, frames.NO_ERROR) + frames.frame(frames.PING, 0, 0, FAREWELL),
        )

    def lasts(self) -> bool:
        """Whether one of the responses is an event stream."""
        return any(stream.exchange is not None and stream.exchange.is_event_stream for stream in self.streams.values())

    def part(self) -> None:
        """End the event streams."""
        self.drain()
        for stream in [*self.streams.values()]:
            if stream.exchange is not None and stream.exchange.is_event_stream:
                stream.exchange.end_stream()

    def stop(self) -> None:
        """A prompt stop: what is open is completed, as in a drain."""
        self.drain()
        if self._phase is LEAVING:
            self._left = min(self._left, self._service.deadline_in(PROMPT_TIME))
            self.deadline = min(self.deadline, self._left)

    def _leave(self) -> None:
        """Tell the client which stream is the last."""
        self._phase, self._left = LEFT, NEVER
        self._output.control(frames.goaway(self._receiver.last, frames.NO_ERROR))
        if not self.streams:
            self._linger()

    def _die(self, fault: ConnectionFault) -> None:
        """End the connection because of what the client has done; nothing more is read."""
        self._output.collecting = True
        self._output.control(frames.goaway(self._receiver.last, fault.code, fault.reason))
        is_flood = fault.code == frames.ENHANCE_YOUR_CALM
        if is_flood:
            self._surplus = MAX_LINGERED - MAX_FLOODED
        self._end_streams(cancel=is_flood)
        self._linger()

    def _linger(self) -> None:
        """Close for writing, and read on for a while: closing with input unread could destroy what was sent last."""
        self._output.release()
        self._receiver.clear()
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self._close()
            return
        self._phase = LINGER
        self.deadline = self._service.deadline_in(self._service.limits.linger_time)
        self._writer.close_for_writing()

    def _close(self) -> None:
        """Close once all that is written has been sent."""
        self._phase = CLOSED
        self.deadline = NEVER
        if self._writer.close():
            self._service.deliveries.watch(self)

    def abort(self) -> None:
        self._phase = CLOSED
        self.transport.abort()
