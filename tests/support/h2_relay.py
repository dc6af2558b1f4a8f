"""A relay between a client of HTTP/2 and a server: it reads along, and says which requests the server has lost."""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import Any

from support.harness import PATIENCE
from tricorn.protocols.http2 import frames as f


class Link:
    """One connection: what went over it each way."""

    def __init__(self) -> None:
        self.asked: set[int] = set()
        """Streams whose HEADERS the client has sent."""
        self.answered: set[int] = set()
        self.reset: dict[int, int] = {}
        """Error codes of the streams that the server has reset."""
        self.last: list[int] = []
        """The last stream of each GOAWAY of the server."""

    def lost(self) -> list[str]:
        """Requests that got no answer although no GOAWAY says that they are to be sent again (RFC 9113 section 6.8)."""
        last = self.last[-1] if self.last else f.MAX_STREAM_ID
        found = [f"stream {stream} was not answered; {self.last=}" for stream in self.asked - self.answered if stream <= last]
        return found + [f"stream {stream} was reset by {code}" for stream, code in self.reset.items() if stream <= last]


class Relay:
    """Listens on ``port``; as a context manager, in a thread of its own. ``links`` has all connections that came."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.links: list[Link] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link()
        self.links.append(link)
        above, below = await asyncio.open_connection("127.0.0.1", self.upstream)
        await asyncio.gather(_pass(reader, below, link, True), _pass(above, writer, link, False))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link, from_client: bool) -> None:
    """Pass on what comes, until nothing more does, and note each frame."""
    data, skipped = b"", len(f.PREFACE) if from_client else 0
    try:
        while part := await reader.read(65536):
            data += part
            at = skipped
            while len(data) >= at + 9 and len(data) >= (end := at + 9 + (f.HEAD.unpack_from(data, at)[0] >> 8)):
                first, flags, stream = f.HEAD.unpack_from(data, at)
                _note(link, from_client, first & 0xFF, flags, stream, data[at + 9 : end])
                at = end
            if at > skipped or not from_client:
                data, skipped = data[at:], 0
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def _note(link: Link, from_client: bool, kind: int, flags: int, stream: int, payload: bytes) -> None:
    if kind == f.HEADERS and from_client:
        link.asked.add(stream)
    elif kind in (f.HEADERS, f.DATA) and not from_client and flags & f.END_STREAM:
        link.answered.add(stream)
    elif kind == f.RST_STREAM and not from_client:
        link.reset[stream] = struct.unpack(">I", payload)[0]
    elif kind == f.GOAWAY and not from_client:
        link.last.append(struct.unpack_from(">I", payload)[0])
