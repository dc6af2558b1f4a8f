"""Clients of every kind, which account for each request: answered, or failed and why."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

PATIENCE = 60.0
"""Seconds that a request may take: longer than a worker may hang, and for machines under load."""
PIECE = b"x" * 8192
STREAM = b"0123456789abcdef" * 256 * 20


class Account:
    """What became of all requests. A connection that a killed worker held is *lost*, by its client's port."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        """By kind of client."""
        self.explained: Counter[str] = Counter()
        """Failed, on a connection that a killed worker held."""
        self.unexplained: list[str] = []
        self.longest = 0.0
        """Seconds between two answers of whatever kind."""
        self.slowest = 0.0
        """Seconds that an answered request took."""
        self._lost: dict[int, float] = {}
        self._last = time.monotonic()

    def lose(self, ports: set[int]) -> None:
        """These connections are about to end, for somebody kills the process that holds them."""
        self._lost |= dict.fromkeys(ports, time.monotonic())

    def answer(self, kind: str, begun: float) -> None:
        now = time.monotonic()
        self.answered[kind] += 1
        self.slowest = max(self.slowest, now - begun)
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def fail(self, kind: str, port: int | None, opened: float, error: BaseException | str) -> None:
        """A request on the connection from ``port``, opened at that time, has failed."""
        if port is not None and self._lost.get(port, -1.0) >= opened:
            self.explained[kind] += 1
        else:
            self.unexplained.append(f"{kind}, port {port}, open for {time.monotonic() - opened:.2f} s: {error!r}")

    def __str__(self) -> str:
        failed = ", ".join(self.unexplained[:5]) or "none"
        return (
            f"{sum(self.answered.values())} answered ({dict(self.answered)}), {sum(self.explained.values())} lost with a "
            f"killed worker, {len(self.unexplained)} unexplained: {failed}; slowest {self.slowest:.1f} s, longest silence "
            f"{self.longest:.1f} s"
        )


class Clients:
    """All clients of one server, until :meth:`stop`."""

    def __init__(self, port: int, account: Account, random: Random) -> None:
        self._port = port
        self._account = account
        self._random = random
        self._stopping = False

    async def run(self) -> None:
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (8, lambda: self._keep_asking("keep-alive", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 50)),
            (2, lambda: self._keep_asking("slow", b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", 10)),
            (3, lambda: self._keep_asking("new connection", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1)),
            (3, lambda: self._keep_asking("stream", b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", 5)),
            (3, lambda: self._keep_asking("upload", b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n", 5)),
            (4, self._talk),
        ]
        await asyncio.gather(*(self._repeat(use) for count, use in kinds for _ in range(count)))

    def stop(self) -> None:
        """Finish what is under way, and begin nothing."""
        self._stopping = True

    async def _repeat(self, use: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            await use()
            await asyncio.sleep(self._random.uniform(0, 0.02))

    # -------------------------------------------------------------------------------------------------------------- HTTP

    async def _keep_asking(self, kind: str, head: bytes, most: int) -> None:
        """Ask up to ``most`` times on one connection."""
        opened = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except (OSError, TimeoutError) as error:
            self._account.fail(kind, None, opened, error)
            await asyncio.sleep(0.1)
            return
        port: int = writer.get_extra_info("sockname")[1]
        try:
            for _ in range(most):
                begun = time.monotonic()
                async with asyncio.timeout(PATIENCE):
                    is_last = await self._ask(kind, head, reader, writer)
                self._account.answer(kind, begun)
                if is_last or self._stopping:
                    return
                await asyncio.sleep(self._random.uniform(0, 0.04))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._account.fail(kind, port, opened, error)
        finally:
            writer.close()

    async def _ask(self, kind: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether it is the connection's last. Raises ValueError for a wrong answer."""
        writer.write(head)
        if kind == "upload":
            for _ in range(262144 // len(PIECE)):
                writer.write(PIECE)
                await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not answer.startswith(b"http/1.1 200 "):
            raise ValueError(answer[:100])
        body = await self._read_body(answer, reader)
        if kind == "stream" and body != STREAM:
            raise ValueError(f"{len(body)} bytes of {len(STREAM)}")
        if kind == "upload" and body != b"262144":
            raise ValueError(body)
        return b"\r\nconnection: close\r\n" in answer

    @staticmethod
    async def _read_body(answer: bytes, reader: asyncio.StreamReader) -> bytes:
        if b"\r\ncontent-length: " in answer:
            return await reader.readexactly(int(answer.split(b"\r\ncontent-length: ", 1)[1].split(b"\r\n", 1)[0]))
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body

    # --------------------------------------------------------------------------------------------------------- WebSocket

    async def _talk(self) -> None:
        """Say something some times, for a second or two, and hear it back."""
        opened, port, connection = time.monotonic(), None, socket.socket()
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
            port = connection.getsockname()[1]
            async with connect("ws://chaos/", sock=connection, open_timeout=PATIENCE, close_timeout=PATIENCE) as websocket:
                await self._converse(websocket)
        except ConnectionClosed as error:
            # 1012 says to connect again: the worker leaves.
            if error.rcvd is None or error.rcvd.code != 1012:
                self._account.fail("websocket", port, opened, error)
        except InvalidStatus as error:
            # A handshake that meets a drain is refused.
            if error.response.status_code != 503:
                self._account.fail("websocket", port, opened, error)
        except (OSError, EOFError, TimeoutError, InvalidHandshake, ValueError) as error:
            self._account.fail("websocket", port, opened, error)
        finally:
            connection.close()

    async def _converse(self, websocket: ClientConnection) -> None:
        for number in range(self._random.randint(1, 60)):
            begun, text = time.monotonic(), f"{number} {'x' * self._random.randint(0, 2000)}"
            await websocket.send(text)
            async with asyncio.timeout(PATIENCE):
                if await websocket.recv() != text:
                    raise ValueError("another message came back")
            self._account.answer("websocket", begun)
            if self._stopping:
                return
            await asyncio.sleep(self._random.uniform(0, 0.05))
