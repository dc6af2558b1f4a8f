"""How evenly connections spread over workers: no speed is measured here, so the client is plain asyncio."""

from __future__ import annotations

import asyncio
import collections
import functools

from .load import MeasurementFailed, Sample
from .moments import Moment
from .servers import HOST, Running, Server

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = f"GET /pid HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


async def connect(port: int, opened: list[Connection]) -> int:
    """Opens a keep-alive connection, which stays open, and asks once; the pid of the worker that answered."""
    reader, writer = await asyncio.open_connection(HOST, port)
    opened.append((reader, writer))
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(await reader.readexactly(int(fields[b"content-length"])))


async def open_all(port: int, connections: int, pause: float) -> list[int]:
    """The pids that answered, one per connection; all opened at once, or ``pause`` seconds apart if that is not 0."""
    opened: list[Connection] = []
    try:
        if not pause:
            return list(await asyncio.gather(*(connect(port, opened) for _ in range(connections))))
        pids = []
        for _ in range(connections):
            pids.append(await connect(port, opened))
            await asyncio.sleep(pause)
        return pids
    finally:
        for _, writer in opened:
            writer.close()


def unevenness(pids: list[int], workers: int) -> float:
    """The connections of the busiest worker divided by their mean over all workers; 1.0 is perfectly even."""
    return max(collections.Counter(pids).values()) / (len(pids) / workers)


def share(server: Server, workers: int, *, connections: int, pause: float) -> Sample:
    """``worst`` of one freshly started server."""
    with Running(server, workers, pinned=False) as running:
        pids = asyncio.run(asyncio.wait_for(open_all(running.port, connections, pause), 60))
        if len(set(pids)) > workers:
            raise MeasurementFailed(f"{server.name}: {len(set(pids))} of {workers} workers answered")
        return {"worst": unevenness(pids, workers), "answered_by": len(set(pids))}


def moment(workers: int, connections: int, pause: float) -> Moment:
    way = "trickling" if pause else "at-once"
    title = f"Sharing: {connections:,} connections {'one after another' if pause else 'at once'}, {workers} workers"
    measure = functools.partial(share, connections=connections, pause=pause)
    return Moment(f"share-{workers}-{connections}-{way}", title, ("worst", "answered_by"), measure, workers, default=False)


SHARING = tuple(
    moment(workers, connections, pause) for workers in (2, 4, 8) for connections, pause in ((64, 0), (1000, 0), (64, 0.005))
)
