"""A file into a connection without a copy through this process (sendfile(2))."""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO

from ..asgi import AppError, ClientDisconnected

AT_ONCE = 256 * 1024
"""Bytes after which the others on the event loop get a turn, however fast the client takes them."""


async def send_by_kernel(
    loop: asyncio.AbstractEventLoop, descriptor: int, file: BinaryIO, size: int, gone: asyncio.Future[None]
) -> None:
    """Send ``size`` bytes of ``file`` to the non-blocking socket ``descriptor``, of which the transport's buffer is empty.

    ``gone`` is done when the connection is lost. Raises :class:`ClientDisconnected`; :class:`AppError` if the file ends before.
    """
    # A copy, because event loops don't let anyone wait for the descriptor of a transport (uvloop has no sendfile of its own).
    out = os.dup(descriptor)
    try:
        sent = 0
        while sent < size:
            if gone.done():
                raise ClientDisconnected("the client has disconnected")
            try:
                count = os.sendfile(out, file.fileno(), sent, min(size - sent, AT_ONCE))
            except BlockingIOError:
                await _wait_for_room(loop, out, gone)
                continue
            except ConnectionError:
                raise ClientDisconnected("the client has disconnected") from None
            if not count:
                raise _cut_short(size, sent)
            sent += count
            await asyncio.sleep(0)
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


async def read_piece(loop: asyncio.AbstractEventLoop, file: BinaryIO, size: int, sent: int) -> bytes:
    """The next bytes of a file of which ``sent`` of ``size`` are sent, for what the kernel can't send into (TLS)."""
    data = await loop.run_in_executor(None, file.read, min(size - sent, AT_ONCE))
    if not data:
        raise _cut_short(size, sent)
    return data


def _cut_short(size: int, sent: int) -> AppError:
    return AppError(f"http.response.pathsend: the file ended after {sent} of {size} bytes")
