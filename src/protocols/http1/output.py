"""The writing half of a connection: what is written leaves at once, and what is written without a pause leaves together."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from time import monotonic

from ..asgi import ClientDisconnected
from ..context import Service
from ..sendfile import File, in_thread, send_by_kernel


class Phase(Enum):
    """What the connection is busy with."""

    IDLE = auto()
    """Waiting for a request."""
    HEAD = auto()
    """A part of a request's head has arrived."""
    EXCHANGE = auto()
    """A request is being answered."""
    DISCARD = auto()
    """The response is complete; the rest of the request's body is thrown away before the next head."""
    LINGER = auto()
    """The last response is written; input is thrown away so that the client can read it."""
    BROKEN = auto()
    """A response broke off, and only a reset can say so; the client takes first what was written."""
    CLOSED = auto()


# Bound once: each look-up of an enumeration's member costs as much as a call.
IDLE, HEAD, EXCHANGE, DISCARD, LINGER, BROKEN, CLOSED = Phase


_LARGE_PIECE = 8192
"""Bytes of a piece, on average, above which copying pieces together costs more than handing them over one by one."""
PAUSE = 0.0005
"""Seconds since data last left after which more leaves at once, in a system call of its own. Such a call costs some 10
microseconds, so at most a fiftieth of the time is spent on them. What comes sooner is collected."""
_FLUSH = 64
"""What a write before the turn's end counts, in pieces: about that many cost as much."""
_ENOUGH = 1024
"""Pieces' work for one turn, about a millisecond: 1 MiB in large pieces."""


class Corked(asyncio.Protocol):
    """The writing half of any connection, WebSockets included; a base and not a part of it, so that a write is one call."""

    __slots__ = ("_corked", "_corked_size", "_due", "_full", "_most_corked", "_service", "_work", "bursts", "room", "transport")

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self.room: asyncio.Future[None] | None = None
        """Done when the transport's buffer has drained, or the others have had their turn; None while there is room."""
        self._full = False
        """The transport's buffer is."""
        self._work = 0
        """Cost of writes before turns' ends, since a turn was waited for; a piece counts one."""
        self._corked: list[bytes] = []
        self._corked_size = 0
        self._most_corked = service.limits.buffer
        self._due = 0.0
        """When what is written leaves at once again, as of ``monotonic``: a pause after data last did."""
        self.bursts = False
        """The last writes came without a pause (see :meth:`begin`)."""

    # Called by the event loop.

    def pause_writing(self) -> None:
        self._full = True
        self._service.deliveries.watch(self)
        if self.room is None:
            self.room = self._service.loop.create_future()

    def resume_writing(self) -> None:
        self._full = False
        if self.room is not None:
            if not self.room.done():
                self.room.set_result(None)
            self.room = None

    # Called by who writes.

    def write(self, data: bytes) -> None:
        """Send at once after a pause, otherwise together with what follows. Nothing leaves a closed connection."""
        if monotonic() > self._due:
            self._note_pause()
            if not self._corked:
                self._write_now(data)
                return
            self._corked.append(data)
            self._corked_size += len(data)
            self._uncork_early()
            return
        self.bursts = True
        self.hold(data)
        if self._corked_size >= self._most_corked:
            self._uncork_early()

    def _note_pause(self) -> None:
        """Data leaves after a pause."""
        self._due = monotonic() + PAUSE
        self.bursts = False

    def begin(self) -> None:
        """A request begins, and the last response came in a burst: take the begin for a write, so that a burst leaves together.

        The first write would otherwise take a system call of its own, a quarter of what a stream of 20 pieces costs.
        """
        self._due = monotonic() + PAUSE

    def hold(self, data: bytes) -> None:
        """Send together with what is written next, or at the turn's end."""
        if not self._corked:
            self._service.loop.call_soon(self._uncork)
        self._corked.append(data)
        self._corked_size += len(data)

    def _write_now(self, data: bytes) -> None:
        """Send ``data``; nothing is being collected."""
        if not self.transport.is_closing():
            self.transport.write(data)
        self._count_work(_FLUSH)

    def _uncork_early(self) -> None:
        """Send before the turn's end."""
        cost = _FLUSH + len(self._corked)
        self._uncork()
        self._count_work(cost)

    def _count_work(self, cost: int) -> None:
        """Let a sender that has sent enough for one turn wait for the next.

        One that sends without end must neither keep the others waiting nor miss that the client has gone.
        """
        self._work += cost
        if self._work >= _ENOUGH:
            self._work = 0
            if self.room is None:
                self.room = self._service.loop.create_future()
                self._service.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._full:
            self.resume_writing()

    def _uncork(self) -> None:
        corked = self._corked
        if corked and not self.transport.is_closing():
            if len(corked) == 1:
                self.transport.write(corked[0])
            elif self._corked_size >= len(corked) * _LARGE_PIECE and self._gathers():
                self.transport.writelines(corked)
            else:
                self.transport.write(b"".join(corked))
        corked.clear()
        self._corked_size = 0

    def _close_transport(self) -> None:
        """Close once the client has taken all that is written; until then it is watched."""
        transport = self.transport
        # Under TLS a transport does not tell of all that it holds, and waits for the client to close, too.
        if transport.get_write_buffer_size() or not transport.can_write_eof():
            self._service.deliveries.watch(self)
        if not transport.is_closing():
            transport.close()

    # Called by the service, see delivery.py.

    def delivered(self) -> None:
        """The client's system has all that was written: from now on it is the client's turn."""
        raise NotImplementedError

    def cut_off(self) -> None:
        """The client has taken nothing for too long: end the connection, by a reset if something is missing."""
        raise NotImplementedError

    def _gathers(self) -> bool:
        """Whether the transport writes several pieces at once without copying them; TLS would make records of each."""
        return self._service.gathers and self.transport.get_extra_info("sslcontext") is None


class Output(Corked):
    """What an exchange writes to (wire.Wire)."""

    __slots__ = ("_chunk", "_chunk_at", "_gone", "_phase", "chunked")

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._phase = IDLE
        self._chunk = 0
        """Bytes of the chunk that is being collected, from ``_chunk_at`` on among what is corked; 0 if none is."""
        self.chunked = 0
        """Bytes of the current response that went out in chunks."""
        self._gone: asyncio.Future[None] | None = None
        """Done when the connection is lost; made for who waits for it."""

    def write_chunk(self, data: bytes) -> None:
        """As ``write``, of body bytes that go out in chunks (RFC 9112 section 7.1): what leaves together is one chunk."""
        corked, size = self._corked, self._chunk
        if not size:
            if not corked:
                if monotonic() > self._due and len(data) < _LARGE_PIECE:
                    self._note_pause()
                    self.chunked += len(data)
                    self._write_now(b"%x\r\n%b\r\n" % (len(data), data))
                    return
                self.bursts = True
                self._service.loop.call_soon(self._uncork)
            self._chunk_at = len(corked)
            corked.append(b"")  # The place of its size.
        corked.append(data)
        self._chunk = size = size + len(data)
        if monotonic() > self._due:
            self._note_pause()
            self._uncork_early()
        elif size >= self._most_corked:
            self._uncork_early()

    def _end_chunk(self) -> None:
        """What has been collected is a chunk."""
        self._corked[self._chunk_at] = b"%x\r\n" % self._chunk
        self._corked.append(b"\r\n")
        self._corked_size += self._chunk
        self.chunked += self._chunk
        self._chunk = 0

    def _uncork(self) -> None:
        if self._chunk:
            self._end_chunk()
        # By its name: super() would cost as much as the rest of a stream's turn.
        Corked._uncork(self)

    def write_last(self, data: bytes) -> None:
        if self._corked:
            if self._chunk:
                self._end_chunk()
            self._corked.append(data)
            self._corked_size += len(data)
            self._uncork()
        elif data and not self.transport.is_closing():
            self.transport.write(data)

    async def send_file(self, file: File) -> None:
        """Send ``file`` behind all that was written. Raises ClientDisconnected or AppError."""
        loop, transport = self._service.loop, self.transport
        self._uncork()
        self._service.deliveries.watch(self)
        self._gone = loop.create_future()
        if transport.get_extra_info("ssl_object") is None:
            transport.set_write_buffer_limits(high=0)
            try:
                await self._drained()
                await send_by_kernel(loop, transport.get_extra_info("socket").fileno(), file, self._gone)
            finally:
                transport.set_write_buffer_limits(high=self._service.limits.buffer)
            return
        while file.sent < file.size:
            data = await in_thread(loop, file.read, file.sent)
            await self._drained()
            transport.write(data)
            file.sent += len(data)

    async def _drained(self) -> None:
        if self.room is not None:
            await asyncio.shield(self.room)
        if self._phase is Phase.CLOSED:
            raise ClientDisconnected("the client has disconnected")
