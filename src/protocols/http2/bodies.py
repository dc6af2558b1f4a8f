"""The requests' bodies on one connection: what may come, what has come, and how long the client may pause."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from ...errors import BadRequest
from ..context import Service
from . import frames
from .flow import Output
from .frames import ConnectionFault, StreamFault
from .head import Request
from .stream import Http2Stream

_WINDOW = 1024 * 1024
"""Bytes that a client may send on all streams, at least, before it hears from us. Credit comes back as soon as they arrive,
because each stream has a window of its own: so a body that its application does not take holds up no other."""
MAX_RESET = 256
"""Streams that we have reset and remember: what the client sent on them before it read our reset is thrown away."""


class Bodies:
    """Bodies on their way from frames to exchanges.

    - *Windows* (RFC 9113 section 5.2). A stream's window is as large as a body may be in memory. It is given back as the
      application takes the body, half a window at a time: a frame for each piece would cost as much as the piece.
    - *Lengths.* A body has as many bytes as Content-Length tells, and no more than ``--limit-request-body``.
    - *Time.* As with HTTP/1.1 a client may pause for a while, and has a least rate. Time passes only while it could send.
    """

    __slots__ = ("_credit", "_output", "_service", "_streams", "_watch", "ignored", "total", "window")

    def __init__(self, service: Service, streams: Mapping[int, Http2Stream], output: Output, watch: Callable[[], None]) -> None:
        """``streams``: those that are open. ``watch`` is called when a client's time begins."""
        self._service = service
        self._streams = streams
        self._output = output
        self._watch = watch
        # Until a client has read our settings, it assumes the default.
        self.window = min(max(frames.DEFAULT_WINDOW, service.limits.buffer), frames.MAX_WINDOW // 2)
        """Bytes that a client may send on a new stream."""
        self.total = max(_WINDOW, 2 * self.window)
        """Bytes that it may send on all streams: more than on one, so that a single upload does not wait for them."""
        self._credit = self.total
        """What is left of them."""
        self.ignored: deque[int] = deque(maxlen=MAX_RESET)
        """The streams that we have reset last."""

    def begin(self, stream: Http2Stream, request: Request) -> BadRequest | None:
        """Expect a request's body; returns why it is refused."""
        stream.body_ended = False
        stream.expected = request.length
        stream.credit = self.window
        most = self._service.limits.body
        if most is not None and request.length is not None and request.length > most:
            return BadRequest(413, "request body too large")
        stream.withheld = request.head.terms.expect_continue
        self.wait_for(stream)
        return None

    def take(self, number: int, data: bytes, size: int, end: bool) -> BadRequest | None:
        """A part of a body, which counts ``size`` for flow control. Returns why it is refused. Raises faults."""
        self._credit -= size
        if self._credit < self.total // 2:
            if self._credit < 0:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows")
            self._output.control(frames.window_update(0, self.total - self._credit))
            self._credit = self.total
        stream = self._streams.get(number)
        if stream is None:
            if number in self.ignored:
                return None
            raise StreamFault(frames.STREAM_CLOSED, "DATA on a closed stream")
        if stream.body_ended:
            raise StreamFault(frames.STREAM_CLOSED, "DATA behind the end of the body")
        stream.credit -= size
        if stream.credit < 0:
            raise StreamFault(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        stream.received += len(data)
        if stream.expected is not None and stream.received > stream.expected:
            raise StreamFault(frames.PROTOCOL_ERROR, "more DATA than Content-Length tells of")
        limits = self._service.limits
        if limits.body is not None and stream.received > limits.body and not stream.is_tunnel:
            return BadRequest(413, "request body too large")
        stream.body_until = self._service.prolong_body(stream.body_until, len(data))
        if end:
            self._close(stream)
        if data or end:
            stream.feed(data, end)
        if not end:
            if size > len(data):
                # Padding is taken at once.
                stream.awaited += size - len(data)
                self.give_back(stream)
        elif stream.exchange is not None:
            stream.exchange.feed_end()
        return None

    def check_open(self, number: int) -> bool:
        """Whether trailers may come: raises faults if not, and is False if they are to be thrown away."""
        stream = self._streams.get(number)
        if stream is None:
            if number in self.ignored:
                return False
            raise ConnectionFault(frames.STREAM_CLOSED, "HEADERS on a closed stream")
        if stream.body_ended:
            raise StreamFault(frames.STREAM_CLOSED, "HEADERS behind the end of the body")
        return True

    def end(self, number: int) -> None:
        """Trailers have ended an open stream's body. Raises faults."""
        stream = self._streams[number]
        self._close(stream)
        stream.feed(b"", True)
        if stream.exchange is not None:
            stream.exchange.feed_end()

    def _close(self, stream: Http2Stream) -> None:
        if stream.expected is not None and stream.received != stream.expected:
            raise StreamFault(frames.PROTOCOL_ERROR, "less DATA than Content-Length tells of")
        stream.body_ended = True
        stream.withheld = False

    def give_back(self, stream: Http2Stream) -> None:
        """Let the client send as much as was taken."""
        if stream.awaited >= self.window // 2:
            if stream.credit < self.window // 2:
                self.wait_for(stream)
            stream.credit += stream.awaited
            self._output.control(frames.window_update(stream.id, stream.awaited))
            stream.awaited = 0

    def lose(self) -> None:
        """The connection is lost: let go of it."""
        self._watch = _nothing

    def wait_for(self, stream: Http2Stream) -> None:
        """From now on it is the client's turn to send more."""
        stream.body_until = self._service.deadline_in(self._service.limits.request_body_time)
        self._watch()

    def is_late(self, stream: Http2Stream) -> bool:
        """Whether a body that is not complete should have gone on by now."""
        if stream.credit < self.window // 2 or stream.withheld or stream.is_tunnel:
            # Not the client's fault: the application has not taken half a window of what has come, or not asked for it yet.
            self.wait_for(stream)
        return self._service.now > stream.body_until


def _nothing() -> None:
    """Does nothing."""
