"""The facts of the fleet, with what the admin process measures of it: memory, CPU time, waiting connections."""

from __future__ import annotations

import asyncio
import time

from ..metrics.gather import Facts
from ..metrics.processes import cpu_of, memory_of
from ..metrics.queues import accept_queues
from .source import Source

MEMORY_EVERY = 10.0
"""Seconds between two readings of the memory: the kernel walks through all pages for it."""


class Measures:
    """Measures what ``source`` does not tell."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._memory: float | None = None

    def facts(self) -> Facts:
        """All facts, as they are now; the memory as it was read last."""
        supervisor, *workers = self._source.pids()
        queues = accept_queues(self._source.listeners())
        return self._source.facts(queues, self._memory, cpu_of(supervisor, workers), time.monotonic())

    async def keep_memory(self) -> None:
        """Read the memory, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._memory = await loop.run_in_executor(None, memory_of, self._source.pids())
            await asyncio.sleep(MEMORY_EVERY)
