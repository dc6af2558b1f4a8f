"""Clients that misbehave, a thousand at once, against a real server: others are not delayed and memory is bounded."""

from __future__ import annotations

import asyncio
import select
import statistics
import time
from collections.abc import Awaitable, Callable

import psutil
from support.harness import Server, get

PROBE = "tests.apps.probe:app"
MANY = 1000
MIB = 2**20
REQUEST = b"GET /?x HTTP/1.1\r\nHost: a\r\n\r\n"
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


def memory(server: Server) -> int:
    """Resident bytes of all workers."""
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in server.workers())


async def open_many(port: int, client: Client, count: int = MANY) -> list[asyncio.Task[bytes]]:
    """So many connections, each led by ``client``."""
    tasks = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        tasks.append(asyncio.ensure_future(client(reader, writer)))
    return tasks


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """A head that never ends, a byte at a time; returns what the server says about it."""
    answer = asyncio.ensure_future(reader.read())
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    # Looked for just before each byte: one that came later than the end would be answered by a reset, and the answer lost.
    arrivals = select.poll()
    arrivals.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
    while not answer.done() and not arrivals.poll(0):
        try:
            writer.write(b"x")
            await writer.drain()
        except OSError:
            break
        await asyncio.wait((answer,), timeout=0.1)
    try:
        return await answer
    except OSError:
        return b""
    finally:
        writer.close()


async def ask_all_the_time(port: int, seconds: float) -> list[float]:
    """How long each of a good client's requests took, one at least."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    end = time.monotonic() + seconds
    while not times or time.monotonic() < end:
        begin = time.monotonic()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
        times.append(time.monotonic() - begin)
    writer.close()
    return times


def test_a_thousand_trickling_heads_delay_nobody_and_are_gone_after_their_time() -> None:
    async def play(port: int) -> None:
        tasks = await open_many(port, trickle)
        times = await ask_all_the_time(port, 2)
        # Both ends share this machine's processors, and the client's end of 10,000 writes a second is the dearer one.
        assert statistics.median(times) < 1
        answers = await asyncio.wait_for(asyncio.gather(*tasks), 60)
        # A client that is late to read meets a reset instead.
        assert sum(answer.startswith(b"HTTP/1.1 408 ") for answer in answers) > MANY / 2

    with Server(PROBE, "--timeout-request-head", "3") as server:
        asyncio.run(play(server.port))
        assert get(server.port).status == 200


def test_a_thousand_clients_that_do_not_read_hold_little_memory() -> None:
    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET /big?mib=50 HTTP/1.1\r\nHost: a\r\n\r\n")
        reading = await reader.readexactly(12)
        await asyncio.Event().wait()
        return reading

    async def play(server: Server) -> None:
        before = memory(server)
        tasks = await open_many(server.port, ask)
        # The first answer takes as long as the kernel takes to fill a thousand sockets' buffers of its own.
        await ask_all_the_time(server.port, 0)
        assert statistics.median(await ask_all_the_time(server.port, 1)) < 1
        # 64 KiB each, a piece of the application's on top of that, and what Python needs for a connection and a task.
        assert memory(server) - before < MANY * 200 * 1024
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with Server(PROBE) as server:
        server.wait_for_ready(1)
        asyncio.run(play(server))
        assert get(server.port).status == 200


def test_a_gigabyte_behind_an_answered_request_is_not_kept() -> None:
    async def play(server: Server) -> None:
        before = memory(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % 2**30)
        assert await reader.readexactly(12) == b"HTTP/1.1 200"
        sent = 0
        try:
            while sent < 2**30:
                writer.write(b"x" * MIB)
                await writer.drain()
                sent += MIB
        except OSError:
            pass
        assert sent < 2**30, "all of it was taken"
        assert memory(server) - before < 20 * MIB
        writer.close()

    with Server(PROBE) as server:
        server.wait_for_ready(1)
        asyncio.run(play(server))
        assert get(server.port).status == 200
