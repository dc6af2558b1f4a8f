"""The writing half of one transport, for every protocol that is spoken on it."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from .asgi import ClientDisconnected
from .context import Service
from .pace import WINDOW
from .sendfile import File, in_thread, send_by_kernel

_LARGE_PIECE = 8192
"""Average bytes of a piece above which it costs more to copy the pieces together than to hand them over one by one."""
PAUSE = 0.0005
"""Seconds since data last left after which more leaves at once, in a system call of its own. Such a call costs some 10
microseconds, so it takes at most a fiftieth of the time. What comes sooner is collected."""
_FLUSH = 64
"""What a flush before the turn's end counts, in pieces: about that many cost as much."""
_ENOUGH = 1024
"""Pieces' work for one turn of the event loop, about a millisecond: 1 MiB in large pieces."""
_HALF = _ENOUGH // 2
"""Work after which the event loop is asked to say when it turns."""
_SOON = WINDOW - PAUSE
"""Seconds after :attr:`Writer.due` within which a stream is a fast one: in a window it has several pieces."""
BURST_PAUSE = 0.001
"""The same at the start of a request whose predecessor's response came in a burst. It is longer, since the requests that come
in one turn of the event loop have their turns one after another."""


class FrameSource(Protocol):
    """What collects the payload of a frame, whose size is known only when it leaves."""

    def end_frame(self) -> tuple[list[bytes], int]:
        """What was collected, with what comes before and behind it; and how many bytes that is."""


class Writer:
    """Writes to one transport: little is held back, few system calls are made, and no sender fills the memory.

    - *Corking.* After a pause, what is written leaves at once, also if the application then blocks the event loop. What comes
      without a pause is collected (corked) and leaves in one system call: with the next write after a pause, or at the end of
      the loop's turn. So a stream of 20 pieces costs about as many system calls as a stream of two.
    - *Pace.* Where pieces that come one in a turn take too much of the worker's time, it collects them for longer (pace.py).
    - *Frames.* What is to leave as one frame, such as a chunk, is collected by its source (:meth:`begin_frame`). The writer
      asks for it when it leaves: its size is known only then.
    - *Flow control.* :attr:`room` is a future while a sender has to wait: because the transport's buffer is full, or because
      the sender has written enough for one turn. The sender waits; the writer never drops or refuses data.
    - *The end.* Nothing leaves a closed connection. :meth:`close` lets the client take all that was written;
      :meth:`close_for_writing` lets us read on meanwhile.

    A connection owns one and passes on what the event loop tells: :meth:`pause`, :meth:`resume`, :meth:`lose`. The writer does
    not know its connection, so no cycle of references keeps either of them.
    """

    __slots__ = (
        "_full",
        "_gone",
        "_is_asking",
        "_service",
        "_size",
        "_source",
        "_work",
        "bursts",
        "corked",
        "due",
        "limit",
        "room",
        "transport",
    )

    def __init__(self, service: Service, transport: asyncio.Transport) -> None:
        self._service = service
        self.transport = transport
        self.limit = service.limits.buffer
        """Bytes that are collected at most."""
        transport.set_write_buffer_limits(high=self.limit)
        self.room: asyncio.Future[None] | None = None
        """Done when the transport's buffer has drained, or the others have had their turn; None while there is room."""
        self._full = False
        """Whether the transport's buffer is full."""
        self._work = 0
        """Cost of early flushes since the sender last yielded; one per piece."""
        self._is_asking = False
        """The event loop is to say when it turns."""
        self.corked: list[bytes] = []
        """What waits to be sent."""
        self._size = 0
        """Bytes of them."""
        self.due = 0.0
        """From when on a write leaves at once again, as of ``monotonic``: a pause after data last left."""
        self.bursts = False
        """The last writes came without a pause."""
        self._source: FrameSource | None = None
        """The source of the frame that is being collected, behind all that is corked."""
        self._gone: asyncio.Future[None] | None = None
        """Done when the connection is lost; made for a sender that waits for it."""

    # The connection passes on what the event loop tells.

    def pause(self) -> None:
        """The transport's buffer is full."""
        self._full = True
        if self.room is None:
            self.room = self._service.loop.create_future()

    def resume(self) -> None:
        """The transport's buffer has drained."""
        self._full = False
        if self.room is not None:
            if not self.room.done():
                self.room.set_result(None)
            self.room = None

    def lose(self) -> None:
        """The connection is lost: keep nothing that was to be sent, and wake senders."""
        self.corked.clear()
        if self._source is not None:
            self._source.end_frame()
            self._source = None
        self.resume()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    # Writing.

    def write(self, data: bytes) -> None:
        """Send at once after a pause, otherwise together with what follows."""
        if (now := monotonic()) > self.due:
            if self.corked:
                self.hold(data)
                self.leave(now)
                return
            self.due, self.bursts = now + PAUSE, False
            if not self.transport.is_closing():
                self._service.meters.sent += len(data)
                self.transport.write(data)
            self._work += _FLUSH
            if self._work >= _HALF:
                self._spend()
            return
        self.bursts = True
        self.hold(data)
        if self._size >= self.limit:
            self.flush_early()

    def can_leave(self, now: float) -> bool:
        """Whether a piece that comes after a pause may have a system call of its own."""
        return self._service.pace.spend(now) or now > self.due + _SOON

    def begin_frame(self, source: FrameSource) -> None:
        """As :meth:`write`, of the frame that ``source`` has begun. Until it has left, only :meth:`write_last` may follow.

        A source that adds to it calls :meth:`leave` when :attr:`due` has passed, and :meth:`flush_early` when the frame has
        :attr:`limit` bytes. (To ask the writer each time would cost a stream two calls for each piece.)
        """
        self._source = source
        if (now := monotonic()) > self.due:
            if self.can_leave(now):
                self.leave(now)
            else:
                self._wait_for_window(now)
        elif not self.corked:
            self.bursts = True
            self._service.loop.call_soon(self._end_turn)

    def write_last(self, data: bytes) -> None:
        """Send at once, with all that waits: no more follows soon. ``data`` may be empty."""
        if self._source is not None:
            self._end_frame(self._source)
        if self.corked:
            self.corked.append(data)
            self._size += len(data)
            self.flush()
        elif data and not self.transport.is_closing():
            self._service.meters.sent += len(data)
            self.transport.write(data)

    def hold(self, data: bytes) -> None:
        """Send together with what is written next, or at the turn's end."""
        if not self.corked:
            self._service.loop.call_soon(self.flush)
        self.corked.append(data)
        self._size += len(data)

    def begin_burst(self, now: float) -> None:
        """Take ``now`` for a write: the sender has sent a burst before, and another one is to leave as a whole.

        The first write would otherwise take a system call of its own, a quarter of what a stream of 20 pieces costs.
        """
        self.due = now + BURST_PAUSE

    def end_burst(self) -> None:
        """Let the next write leave at once: something new begins."""
        self.due = 0.0
        self._work = 0

    def leave(self, now: float) -> None:
        """Send what is corked, after a pause that ends ``now``."""
        self.due, self.bursts = now + PAUSE, False
        self.flush_early()

    def flush_early(self) -> None:
        """Send what is corked before the turn's end."""
        if self._source is not None:
            self._end_frame(self._source)
        self._work += _FLUSH + len(self.corked)
        self.flush()
        if self._work >= _HALF:
            self._spend()

    def flush(self) -> None:
        """Send what is corked."""
        if self._source is not None:
            self._end_frame(self._source)
        corked = self.corked
        if corked and not self.transport.is_closing():
            self._service.meters.sent += self._size
            if len(corked) == 1:
                self.transport.write(corked[0])
            elif self._size >= len(corked) * _LARGE_PIECE and (self._service.gathers or self._encrypts()):
                # TLS copies each of them anyway: a twelfth less for a body of 100 KB.
                self.transport.writelines(corked)
            else:
                self.transport.write(b"".join(corked))
        corked.clear()
        self._size = 0

    def write_pieces(self, pieces: list[bytes]) -> None:
        """Send at once, behind all that waits, what is large in all, though some of the pieces are small.

        To copy a megabyte together first would cost as much as all else that HTTP/2 does with it.
        """
        self.flush()
        if not self.transport.is_closing():
            self._service.meters.sent += sum(map(len, pieces))
            if self._gathers():
                self.transport.writelines(pieces)
            else:
                self.transport.write(b"".join(pieces))

    async def send_file(self, file: File) -> None:
        """Send ``file`` behind all that was written. Raises ClientDisconnected, or AppError if the file ends too soon."""
        loop, transport = self._service.loop, self.transport
        self.flush()
        self._gone = loop.create_future()
        if transport.get_extra_info("ssl_object") is None:
            transport.set_write_buffer_limits(high=0)
            try:
                await self._drained()
                await send_by_kernel(loop, transport.get_extra_info("socket").fileno(), file, self._gone)
            finally:
                self._service.meters.sent += file.sent
                transport.set_write_buffer_limits(high=self.limit)
            return
        while file.sent < file.size:
            data = await in_thread(loop, file.read, file.sent)
            await self._drained()
            self._service.meters.sent += len(data)
            transport.write(data)
            file.sent += len(data)

    # The end.

    def close(self) -> bool:
        """Close when the client has taken all that was written. Returns whether it has yet to take something."""
        self.flush()
        transport = self.transport
        # Under TLS the transport waits for the client to close, too.
        owes = bool(transport.get_write_buffer_size()) or not transport.can_write_eof()
        if not transport.is_closing():
            transport.close()
        return owes

    def close_for_writing(self) -> None:
        """Say that nothing follows, and leave the client's side open. TLS can't say so; then nothing happens."""
        self.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # Parts of the above.

    def _end_turn(self) -> None:
        """What a frame has collected in this turn leaves, unless the worker has too much to do."""
        if self._source is not None and not self.can_leave(now := monotonic()):
            self._wait_for_window(now)
        else:
            self.flush()

    def _wait_for_window(self, now: float) -> None:
        pace = self._service.pace
        self.due = pace.until
        pace.hold(self.flush, now)

    def _end_frame(self, source: FrameSource) -> None:
        self._source = None
        pieces, size = source.end_frame()
        self.corked += pieces
        self._size += size

    def _spend(self) -> None:
        """Much was sent: enough for one turn, unless the sender yields before.

        To ask the event loop costs a stream of single pieces a twentieth of what a rest would.
        """
        if self._work >= _ENOUGH:
            self._rest()
        elif not self._is_asking:
            self._is_asking = True
            self._service.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_asking = False
        self._work = 0

    def _rest(self) -> None:
        """Let a sender that has sent enough for one turn wait for the next.

        One that sends without end must neither keep the others waiting nor miss that the client has gone.
        """
        self._work = 0
        if self.room is None:
            self.room = self._service.loop.create_future()
            self._service.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._full:
            self.resume()

    def _gathers(self) -> bool:
        """Whether the transport writes several pieces at once without copying them; TLS would make records of each."""
        return self._service.gathers and not self._encrypts()

    def _encrypts(self) -> bool:
        return self.transport.get_extra_info("sslcontext") is not None

    async def _drained(self) -> None:
        if self.room is not None:
            await asyncio.shield(self.room)
        if self.transport.is_closing():
            raise ClientDisconnected("the client has disconnected")
