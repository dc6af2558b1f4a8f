"""StatsD lines (``--statsd``), by the names that gunicorn gives them, so that dashboards made for it go on."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

from ..ipc.counts import BOUNDS, BUCKETS, Counts, name_key
from .source import Source

EVERY = 1.0
"""Seconds between two reports."""
MAX_DATAGRAM = 1400
"""Bytes of a datagram: with the headers of UDP and IPv6 it fits into a frame of Ethernet (1500), also through a tunnel."""

logger = logging.getLogger("tricorn.error")


def report(now: Counts, before: Counts, workers: int, prefix: str) -> Iterator[str]:
    """The lines for what has been counted since ``before``. ``workers``: how many there are.

    Only the bucket of a duration is known, so its middle is sent, once for all in the bucket: the sample rate says how many.
    """
    prefix = f"{stem}." if (stem := prefix.rstrip(".")) else ""
    yield f"{prefix}gunicorn.workers:{workers}|g"
    statuses: dict[str, int] = {}
    durations = [0] * BUCKETS
    for key, (_, *buckets) in sorted(now.blocks.items()):
        known = before.blocks.get(key, [0.0] * (BUCKETS + 1))
        grown = [int(a - b) for a, b in zip(buckets, known[1:], strict=True)]
        if any(grown):
            status = name_key(key)[1]
            statuses[status] = statuses.get(status, 0) + sum(grown)
            durations = [a + b for a, b in zip(durations, grown, strict=True)]
    if not statuses:
        return
    yield f"{prefix}gunicorn.requests:{sum(statuses.values())}|c"
    for status, count in statuses.items():
        yield f"{prefix}gunicorn.request.status.{status}:{count}|c"
    # What is above the last bound counts as the last bound.
    for count, lower, upper in zip(durations, (0.0, *BOUNDS), (*BOUNDS, BOUNDS[-1]), strict=True):
        if count:
            rate = "" if count == 1 else f"|@{1 / count!r}"
            yield f"{prefix}gunicorn.request.duration:{round((lower + upper) * 500, 3)}|ms{rate}"


def datagrams(lines: Iterator[str]) -> Iterator[bytes]:
    """The lines, as many to a datagram as fit."""
    joined = b""
    for line in lines:
        encoded = line.encode()
        if joined and len(joined) + 1 + len(encoded) > MAX_DATAGRAM:
            yield joined
            joined = b""
        joined += b"\n" + encoded if joined else encoded
    yield joined


class Statsd:
    """Sends to ``address`` (``HOST:PORT``) what ``source`` has counted. It never waits for the network.

    ``is_first``: whether no process did so before. A later one starts from what it finds, because it can't tell what was sent.
    """

    def __init__(self, address: str, prefix: str, source: Source, is_first: bool) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._prefix = prefix
        self._source = source
        self._sent = Counts() if is_first else self._read()[0]
        self._addresses: list[tuple[int, Any]] = []
        self._socket: socket.socket | None = None

    async def run(self) -> None:
        """Send for ever."""
        await self._resolve()
        while True:
            self.send()
            await asyncio.sleep(EVERY)

    def send(self) -> None:
        """Send what has been counted since the last time. Each address is tried once; what none of them takes is lost."""
        if not self._addresses:
            return
        counts, workers = self._read()
        lines = report(counts, self._sent, workers, self._prefix)
        self._sent = counts
        for datagram in datagrams(lines):
            # The kernel tells at a send that the one before was refused, and sends nothing then.
            for _ in range(len(self._addresses) + 1):
                if self._try_to_send(datagram):
                    break

    async def finish(self) -> None:
        """Send for the last time."""
        self.send()
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self) -> tuple[Counts, int]:
        facts = self._source.facts({}, None, None, time.monotonic())
        return facts.counts, sum(facts.phases.values())

    def _try_to_send(self, datagram: bytes) -> bool:
        try:
            if self._socket is None:
                family, address = self._addresses[0]
                self._socket = socket.socket(family, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
                self._socket.connect(address)
            self._socket.send(datagram)
        except BlockingIOError:
            # The system's buffer is full: no other address would do better.
            return True
        except OSError:
            self._close()
            self._addresses.append(self._addresses.pop(0))
            return False
        return True

    async def _resolve(self) -> None:
        """Find the addresses, those of IPv4 first: most StatsD servers listen on no other. Try until there are some."""
        is_told = False
        while True:
            try:
                infos = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            except (OSError, UnicodeError) as error:
                if not is_told:
                    logger.warning("--statsd: %s can't be resolved: %s", self._host, error)
                    is_told = True
                await asyncio.sleep(10 * EVERY)
                continue
            self._addresses = sorted(((int(info[0]), info[4]) for info in infos), key=lambda found: found[0] != socket.AF_INET)
            return
