"""The writing half of a connection: what is written in one turn of the event loop leaves in one system call."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from ..asgi import ClientDisconnected
from ..service import Service
from .sendfile import File, in_thread, send_by_kernel


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
_FLUSH = 64
"""What a write before the turn's end counts, in pieces: about that many cost as much."""
_ENOUGH = 1024
"""Pieces' work for one turn, about a millisecond: 1 MiB in large pieces."""


class Corked(asyncio.Protocol):
    """The writing half of any connection, WebSockets included; a base and not a part of it, so that a write is one call."""

    __slots__ = ("_corked", "_corked_size", "_full", "_most_corked", "_prompt", "_service", "_work", "room", "transport")

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self.room: asyncio.Future[None] | None = None
        """Done when the transport's buffer has drained, or the others have had their turn; None while there is room."""
        self._full = False
        """The transport's buffer is."""
        self._work = 0
        """Of writing before turns' ends, since a turn was waited for; a piece counts one."""
        self._corked: list[bytes] = []
        self._corked_size = 0
        self._most_corked = service.limits.buffer
        self._prompt = False
        """The next write leaves at once: it answers what has just arrived, and is most often the only one to do so."""

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
        """Cork: what is written in one turn of the event loop leaves in one system call. Nothing leaves a closed connection."""
        corked = self._corked
        if not corked:
            if self._prompt:
                self._prompt = False
                if not self.transport.is_closing():
                    self.transport.write(data)
                return
            self._service.loop.call_soon(self._uncork)
        corked.append(data)
        self._corked_size = size = self._corked_size + len(data)
        if size >= self._most_corked:
            self._uncork_early()

    def _uncork_early(self) -> None:
        """Send before the turn's end, for it is much; who has sent enough for one turn waits for the next.

        He that sends without end must neither keep the others waiting nor miss that the client has gone.
        """
        self._work += _FLUSH + len(self._corked)
        self._uncork()
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
        """As ``write``, of body bytes that go out in chunks (RFC 9112 section 7.1): those of one turn become one chunk."""
        corked, size = self._corked, self._chunk
        if not size:
            if not corked:
                self._service.loop.call_soon(self._uncork)
            self._chunk_at = len(corked)
            corked.append(b"")  # The place of its size.
        corked.append(data)
        self._chunk = size = size + len(data)
        if size >= self._most_corked:
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
        elif data:
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
