"""Load for tests of zero loss: keep-alive connections that tell a fair close from a broken promise."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.harness import PATIENCE, wait_until


@dataclass
class Tally:
    """What came of all requests."""

    requests: int = 0
    connections: int = 0
    failures: list[str] = field(default_factory=list)
    """Requests without a 200, whatever the reason; the resets are among them."""
    resets: int = 0
    """Reused connections found closed without a ``Connection: close`` before."""
    answers: Counter[str] = field(default_factory=Counter)
    """By response body."""
    slowest: float = 0.0
    """Seconds."""

    def __str__(self) -> str:
        shown = "; ".join(self.failures[:5])
        return f"{self.requests} requests, {len(self.failures)} failures, {self.resets} resets: {shown}"


class Load:
    """``connections`` keep-alive connections that ask for ``path`` again and again, in a thread of their own.

    A context manager: the load runs inside, and at its end each connection finishes the request it has in flight. After that
    ``tally`` holds the result. With ``limit`` it ends by itself after about as many requests.
    """

    def __init__(self, port: int, connections: int = 64, path: str = "/", pause: float = 0.0, limit: int | None = None) -> None:
        self.port, self.connections, self.path, self.pause, self.limit = port, connections, path, pause, limit
        self.tally = Tally()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        wait_until(
            lambda: self.tally.requests >= self.connections or not self._thread.is_alive(), what=f"load begins: {self.tally}"
        )
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self.join()

    def join(self, timeout: float = 2 * PATIENCE) -> Tally:
        """Wait for the end of the load, which comes by itself only with ``limit``."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"the load did not end: {self.tally}"
        return self.tally

    def wait_for_more(self, count: int) -> None:
        """Until ``count`` further requests were answered."""
        goal = self.tally.requests + count
        wait_until(lambda: self.tally.requests >= goal or not self._thread.is_alive(), what=f"no more requests: {self.tally}")

    def _done(self) -> bool:
        return self._stop.is_set() or (self.limit is not None and self.tally.requests >= self.limit)

    async def _run(self) -> None:
        await asyncio.gather(*(self._keep_asking() for _ in range(self.connections)))

    async def _keep_asking(self) -> None:
        while not self._done():
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), PATIENCE)
            except (OSError, TimeoutError) as error:
                self._fail(f"cannot connect: {error!r}")
                # Refused connections fail at once; a moment's wait keeps the list of failures readable.
                await asyncio.sleep(0.1)
                continue
            self.tally.connections += 1
            try:
                await self._use(reader, writer)
            finally:
                writer.close()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask on one connection until the server says that it is the last answer, or breaks it."""
        request = f"GET {self.path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
        used = 0
        while not self._done():
            begun = time.monotonic()
            try:
                writer.write(request)
                last = await asyncio.wait_for(self._read_answer(reader), PATIENCE)
            except (OSError, EOFError, TimeoutError) as error:
                self.tally.resets += used > 0
                self._fail(f"request {used + 1} of a connection: {error!r}")
                return
            used += 1
            self.tally.slowest = max(self.tally.slowest, time.monotonic() - begun)
            if last:
                return
            if self.pause:
                await asyncio.sleep(self.pause)

    async def _read_answer(self, reader: asyncio.StreamReader) -> bool:
        """Count one answer; whether the connection ends with it."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        body = (await reader.readexactly(length)).decode()
        self.tally.requests += 1
        self.tally.answers[body.strip()] += 1
        if not head.startswith(b"http/1.1 200 "):
            self.tally.failures.append(f"{head[:40]!r} {body[:80]!r}")
        return b"\r\nconnection: close\r\n" in head

    def _fail(self, cause: str) -> None:
        self.tally.requests += 1
        self.tally.failures.append(cause)
