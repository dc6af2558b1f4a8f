"""A file as a response's body. Opening, reading and sendfile(2) run in threads: a slow disk must not stall the event loop.

The loop's default executor lends the threads. The alternatives were measured or looked up: ``os.sendfile`` in the loop's own
thread blocks whenever a page is not in the page cache, and no call says beforehand that all of a piece is there (preadv2 with
RWF_NOWAIT tells only of what it copies). Each visit to a thread costs about 100 microseconds of CPU time, so it has to pay: the
one that opens a file also reads its beginning, which for most files is all of it, and a large file is sent in large pieces.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from ..errors import AppError
from .asgi import ClientDisconnected

SMALL = 64 * 1024
"""Bytes of a file that goes out like any other body: as much of a response may wait in memory anyway."""
AT_ONCE = 1024 * 1024
"""Bytes that one visit to a thread may send: some 300 microseconds of the kernel's work, three times what the visit costs."""
READ_AT_ONCE = 256 * 1024
"""Bytes read at once: the beginning of a file, or where the kernel can't send (TLS) what of it is in memory per connection."""

T = TypeVar("T")


class File:
    """A regular file that goes out as a body. Its ``with`` block closes what :meth:`open` has opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self.whole: bytes | None = None
        """All of a small file."""
        self.sent = 0
        """Bytes that went out."""
        self._descriptor = -1
        self._warm = 0
        """Bytes from the start that :meth:`open` has read, so that the kernel has them in memory."""

    def open(self) -> None:
        """Blocks. Raises OSError, :class:`AppError` if it is no regular file."""
        # Without O_NONBLOCK, to open a FIFO would wait for its writer. It means nothing for regular files.
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AppError(f"http.response.pathsend: {self.path} is not a regular file")
        self.size = status.st_size
        begin = self.read(0)
        self._warm = len(begin)
        if self.size <= SMALL:
            self.whole = begin

    def __enter__(self) -> File:
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, sent: int) -> bytes:
        """The next bytes behind the first ``sent``; blocks. Raises :class:`AppError` if there are none though there should."""
        data = os.pread(self._descriptor, min(self.size - sent, READ_AT_ONCE), sent)
        if not data and sent < self.size:
            raise self._cut_short(sent)
        return data

    def send_warm(self, out: int) -> int:
        """As :meth:`send` at the start of the file, and without waiting for the disk."""
        return self._send(out, 0, self._warm)

    def send(self, out: int, sent: int) -> int:
        """Send what follows the first ``sent`` bytes to the non-blocking socket ``out``, as much as that takes; blocks.

        Returns how many bytes went out. Raises :class:`AppError` if the file ends too soon, ConnectionError.
        """
        return self._send(out, sent, min(self.size, sent + AT_ONCE))

    def _send(self, out: int, sent: int, end: int) -> int:
        begin = sent
        while sent < end:
            try:
                count = os.sendfile(out, self._descriptor, sent, end - sent)
            except BlockingIOError:
                break
            if not count:
                raise self._cut_short(sent)
            sent += count
        return sent - begin

    def _cut_short(self, sent: int) -> AppError:
        return AppError(f"http.response.pathsend: the file ended after {sent} of {self.size} bytes")


async def in_thread(loop: asyncio.AbstractEventLoop, function: Callable[..., T], *args: object) -> T:
    """``function(*args)`` in a thread. A cancellation waits for the thread, because that uses the caller's descriptors."""
    work = loop.run_in_executor(None, function, *args)
    cancellation: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        work.exception()  # Otherwise asyncio would log that it was never retrieved.
        raise cancellation
    return work.result()


async def send_by_kernel(loop: asyncio.AbstractEventLoop, descriptor: int, file: File, gone: asyncio.Future[None]) -> None:
    """Send ``file`` to the non-blocking socket ``descriptor``, of which the transport's buffer is empty.

    ``gone`` is done when the connection is lost. Raises :class:`ClientDisconnected`; :class:`AppError` if the file ends before.
    """
    # A copy, because event loops refuse to watch the descriptor of a transport (uvloop has no sendfile of its own).
    out = os.dup(descriptor)
    try:
        file.sent = file.send_warm(out)
        while file.sent < file.size:
            await _wait_for_room(loop, out, gone)
            if gone.done():
                raise ClientDisconnected("the client has disconnected")
            file.sent += await in_thread(loop, file.send, out, file.sent)
    except ConnectionError:
        raise ClientDisconnected("the client has disconnected") from None
    finally:
        os.close(out)


async def _wait_for_room(loop: asyncio.AbstractEventLoop, out: int, gone: asyncio.Future[None]) -> None:
    room: asyncio.Future[None] = loop.create_future()
    loop.add_writer(out, _fulfil, room)
    try:
        await asyncio.wait((room, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_writer(out)


def _fulfil(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
