"""The writing half of a connection: what goes out in one turn is one write, within the client's windows, urgent first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

from ..context import Service
from ..writer import Writer
from . import frames
from .calm import Calm
from .frames import ConnectionFault, StreamFault

_head = frames.HEAD.pack
_FRAME = frames.DEFAULT_FRAME
_SHARE = 4 * _FRAME
"""Bytes that a stream sends before others of the same urgency have their turn."""
_TURN = 256 * 1024
"""Bytes of bodies that are written in one turn of the loop. What is more urgent waits behind them."""
_FIRST_TURN = 1024 * 1024
"""The same for a client that has taken all before: to write much at once halves the kernel's work, and takes 0.3 ms."""
_MANY = 256
"""Pieces of a body that may wait for their frames: with more, their sender has to wait."""
_LARGE = 64 * 1024
"""Bytes above which pieces are handed over one by one rather than copied together first."""
_TINY = 128
"""Bytes of a frame below which it earns the client no points (see calm.py), unless nothing more waits: a client that opens
its window by a few bytes makes us work for nothing."""


class Sending:
    """The sending half of one stream: what waits, and how much the client takes."""

    __slots__ = ("_pieces", "_room", "ends", "id", "is_queued", "last", "moved", "offset", "urgency", "waiting", "window")

    def __init__(self, number: int, window: int, urgency: int) -> None:
        self.id = number
        self.window = window
        """Bytes that the client takes on this stream; may be negative (RFC 9113 section 6.9.2)."""
        self.urgency = urgency
        self.waiting = 0
        """Bytes of the body that wait."""
        self._pieces: deque[bytes] | None = None
        """Made when something has to wait."""
        self.offset = 0
        """Bytes of the first piece that have left."""
        self.ends = False
        """Nothing follows what waits, but for :attr:`last`."""
        self.last = b""
        """Frames to send behind the body instead of an end in the body's last frame: trailers."""
        self.is_queued = False
        self.moved = 0.0
        """When something last left or began to wait, as of ``Service.now``."""
        self._room: asyncio.Future[None] | None = None
        """Done when nothing waits any more."""

    @property
    def pieces(self) -> deque[bytes]:
        """Parts of the body that wait."""
        if self._pieces is None:
            self._pieces = deque()
        return self._pieces

    def make_room(self) -> None:
        """Wake the sender that waits for room."""
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None

    def drop(self) -> None:
        """Nothing that waits is sent any more."""
        if self._pieces is not None:
            self._pieces.clear()
        self.waiting = self.offset = 0
        self.ends, self.last = False, b""
        self.make_room()


class Output:
    """All frames of one connection on their way to its writer.

    - *One write a turn.* While :attr:`collecting`, frames are kept, and :meth:`release` writes them together. Otherwise the
      writer's rule holds: after a pause a frame leaves at once, and what follows without a pause leaves together.
    - *Flow control.* DATA leaves within the stream's window and the connection's; the rest waits in its stream.
    - *Fairness.* Streams with something to send are queued by urgency (RFC 9218). The most urgent are served first, in turns
      among equals, some frames each. A stream whose window is empty is in no queue, so it holds up no other.
    """

    __slots__ = (
        *("_calm", "_done", "_out", "_queues", "_scheduled", "_service", "_stalls", "_writer"),
        *("collecting", "initial", "is_alone", "is_full", "update", "window"),
    )

    def __init__(
        self, service: Service, writer: Writer, calm: Calm, done: Callable[[Sending], None], stalls: Callable[[], None]
    ) -> None:
        """``done`` is called with each stream whose last frame has left, ``stalls`` when a window is empty."""
        self._service = service
        self._writer = writer
        self._calm = calm
        self._done = done
        self._stalls = stalls
        self.window = frames.DEFAULT_WINDOW
        """Bytes that the client takes on all streams together."""
        self.initial = frames.DEFAULT_WINDOW
        """Those that it takes on a new stream."""
        self.collecting = False
        self.is_alone = True
        """There is one stream only: no other response is to be expected in this turn."""
        self.is_full = False
        """Whether the transport's buffer is full."""
        self.update = b""
        """Goes before the next header block: it tells the client's decoder that its table got smaller."""
        self._out: list[bytes] = []
        self._queues: dict[int, deque[Sending]] = {}
        """By urgency; none of them is empty."""
        self._scheduled = False

    # Frames that no window holds back.

    def control(self, frame: bytes) -> None:
        """Send a frame with what else leaves in this turn."""
        if self.collecting:
            self._out.append(frame)
        else:
            self._writer.hold(frame)

    def send_head(self, stream: Sending, block: bytes, end: bool) -> None:
        """A header block; ``end``: there is no body behind it."""
        if self.update:
            block, self.update = self.update + block, b""
        self._emit(frames.headers(stream.id, block, end), end)
        if end:
            self._end(stream)

    # Windows.

    def widen(self, stream: Sending | None, size: int, *, is_all: bool) -> None:
        """The client takes ``size`` bytes more: in all, or on a stream (None if that is closed). Raises faults."""
        if is_all:
            if self.window + size > frames.MAX_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window is too large")
            self.window += size
            self.wake()
        elif stream is not None:
            if stream.window + size > frames.MAX_WINDOW:
                raise StreamFault(frames.FLOW_CONTROL_ERROR, "the stream's window is too large")
            stream.window += size
            self.enqueue(stream)

    def resize(self, streams: Iterable[Sending], size: int) -> None:
        """The client has set new streams' windows to ``size``; those of open ones change by the difference."""
        change, self.initial = size - self.initial, size
        for stream in streams:
            stream.window += change
            if stream.window > frames.MAX_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a stream's window is too large")
            self.enqueue(stream)

    # Bodies.

    def send(self, stream: Sending, block: bytes, body: bytes, end: bool) -> None:
        """Send a part of a body. ``block`` is the header block to send before it; empty if that has been sent."""
        size = len(body)
        if self.update and block:
            block, self.update = self.update + block, b""
        if (
            not stream.waiting
            and size <= stream.window
            and size <= self.window
            and size <= frames.DEFAULT_FRAME
            and len(block) <= frames.DEFAULT_FRAME
            and not self._queues
        ):
            stream.window -= size
            self.window -= size
            self._calm.useful += 1
            data = _head(size << 8, end, stream.id) + body
            if block:
                data = _head(len(block) << 8 | frames.HEADERS, frames.END_HEADERS, stream.id) + block + data
            self._emit(data, end)
            if end:
                self._end(stream)
            return
        if block:
            self._emit(frames.headers(stream.id, block, False), False)
        stream.pieces.append(body)
        stream.waiting += size
        stream.ends = end
        stream.moved = self._service.now
        self.enqueue(stream)

    def send_last(self, stream: Sending, block: bytes) -> None:
        """Trailers."""
        if self.update:
            block, self.update = self.update + block, b""
        last = frames.headers(stream.id, block, True)
        if stream.waiting:
            stream.ends, stream.last = True, last
            return
        self._emit(last, True)
        self._end(stream)

    def room(self, stream: Sending) -> asyncio.Future[None] | None:
        """What to wait for before more is sent on a stream; None if there is room."""
        if stream.waiting:
            limit = 1 if self.is_full or stream.window <= 0 or self.window <= 0 else self._service.limits.buffer
            if stream.waiting >= limit or len(stream.pieces) >= _MANY:
                if stream._room is None:
                    stream._room = self._service.loop.create_future()
                return stream._room
        return self._writer.room

    def enqueue(self, stream: Sending) -> None:
        """Something waits on the stream, or its window has grown."""
        if stream.is_queued or not (stream.waiting or stream.ends):
            return
        if stream.waiting and stream.window <= 0:
            self._stall()
            return
        stream.is_queued = True
        queue = self._queues.get(stream.urgency)
        if queue is None:
            self._queues[stream.urgency] = queue = deque()
        queue.append(stream)
        self.wake()

    def prioritize(self, stream: Sending, urgency: int) -> None:
        """Queue the stream among others from now on."""
        if stream.is_queued:
            queue = self._queues[stream.urgency]
            queue.remove(stream)
            if not queue:
                del self._queues[stream.urgency]
            stream.is_queued = False
        stream.urgency = urgency
        self.enqueue(stream)

    def wake(self) -> None:
        """Send what may be sent now, at the end of this turn."""
        if self._queues and not self._scheduled and not self.collecting:
            self._scheduled = True
            self._service.loop.call_soon(self._pump)

    def release(self) -> None:
        """Write what was collected, and what else may leave."""
        self.collecting = True
        is_partial = bool(self._queues) and self._fill()
        self.collecting = False
        out = self._out
        if out:
            if len(out) == 1:
                self._writer.write_last(out[0])
            else:
                self._writer.write_last(b"".join(out))
            out.clear()
        if is_partial:
            self.wake()

    def lose(self) -> None:
        """The connection is lost: let go of it."""
        self._out.clear()
        self._queues.clear()
        self._done, self._stalls = _ignore, _nothing

    # Parts of the above.

    def _emit(self, data: bytes, last: bool) -> None:
        if self.collecting:
            self._out.append(data)
        elif last and self.is_alone:
            self._writer.write_last(data)
        else:
            self._writer.write(data)

    def _end(self, stream: Sending) -> None:
        done = self._done
        done(stream)

    def _pump(self) -> None:
        self._scheduled = False
        if not self.collecting:
            self.release()

    def _fill(self) -> bool:
        """Collect frames of the bodies that wait, most urgent first. Returns whether more may leave in the next turn."""
        queues = self._queues
        size, most = 0, _TURN if self._writer.transport.get_write_buffer_size() else _FIRST_TURN
        while queues and size < most and not self.is_full:
            urgency = min(queues)
            queue = queues[urgency]
            stream = queue[0]
            if stream.waiting and self.window <= 0:
                # No stream can send; those that wait keep their places.
                self._stall()
                break
            queue.popleft()
            stream.is_queued = False
            if not queue:
                del queues[urgency]
            if stream.waiting or stream.ends:
                size += self._take(stream, most - size if not queues else _SHARE)
                if stream.waiting:
                    self._requeue(stream)
        if size > _LARGE:
            out, self._out = self._out, []
            self._writer.write_pieces(out)
        return size >= most

    def _stall(self) -> None:
        stalls = self._stalls
        stalls()

    def _requeue(self, stream: Sending) -> None:
        if stream.window <= 0:
            self._stall()
            return
        stream.is_queued = True
        self._queues.setdefault(stream.urgency, deque()).append(stream)

    def _take(self, stream: Sending, most: int) -> int:
        """Collect frames of the stream with up to ``most`` bytes; returns how many bytes."""
        size = max(0, min(stream.waiting, stream.window, self.window, most))
        is_whole = size == stream.waiting
        is_end = is_whole and stream.ends and not stream.last
        stream.waiting -= size
        stream.window -= size
        self.window -= size
        stream.moved = self._service.now
        if is_whole or size >= _TINY:
            self._calm.useful += 1 + size // _FRAME
        left = size - self._cut(stream, size - is_end) if size > _FRAME else size
        while left or (is_end and not size):
            length = min(left, _FRAME)
            left -= length
            self._out.append(_head(length << 8, is_end and not left, stream.id))
            self._gather(stream, length)
            if not left:
                break
        if is_whole:
            stream.pieces.clear()
            if stream.last:
                self._out.append(stream.last)
            stream.make_room()
            if stream.ends:
                stream.ends = False
                self._end(stream)
        return size

    def _cut(self, stream: Sending, most: int) -> int:
        """Cut the first piece into whole frames, ``most`` bytes of it at most; returns how many bytes that are.

        A frame costs half a microsecond here and three if it is gathered, which doubles the CPU time of a megabyte.
        """
        piece, begin = stream.pieces[0], stream.offset
        count = min(len(piece) - begin, most) // _FRAME
        head, view, out = _head(_FRAME << 8, 0, stream.id), memoryview(piece), self._out
        end = begin + count * _FRAME
        for at in range(begin, end, _FRAME):
            out.append(head)
            out.append(cast(bytes, view[at : at + _FRAME]))
        if end == len(piece):
            stream.pieces.popleft()
            end = 0
        stream.offset = end
        return count * _FRAME

    def _gather(self, stream: Sending, left: int) -> None:
        """Collect the next ``left`` bytes that wait."""
        out, pieces = self._out, stream.pieces
        while left:
            piece, begin = pieces[0], stream.offset
            rest = len(piece) - begin
            if rest <= left:
                out.append(cast(bytes, memoryview(piece)[begin:]) if begin else piece)
                pieces.popleft()
                stream.offset = 0
                left -= rest
            else:
                out.append(cast(bytes, memoryview(piece)[begin : begin + left]))
                stream.offset += left
                left = 0


def _ignore(stream: Sending) -> None:
    """There is nothing to tell."""


def _nothing() -> None:
    """As :func:`_ignore`."""
