"""How often one worker makes system calls for single pieces of streams.

A stream of small pieces that come one in each turn of the event loop costs a call for each. While the worker has time, each
leaves at once. When it has not, those of fast streams are collected for a moment: 64 such streams take 0.4 of the CPU time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WINDOW = 0.002
"""Seconds for which pieces are collected at most. Twice as many save a fifth more."""
MAX_CALLS = 40
"""System calls in a window that leave a worker time for all else. Each takes some 10 microseconds, so they take a fifth."""


class Pace:
    """Counts the calls in the present window, and holds those that are too many until its end."""

    __slots__ = ("_calls", "_held", "_loop", "until")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls = 0
        self._held: list[Callable[[], None]] = []
        self.until = 0.0
        """The end of the window, as of ``monotonic``."""

    def spend(self, now: float) -> bool:
        """One more call is wanted; returns whether there is time for it."""
        if now > self.until:
            self.until, self._calls = now + WINDOW, 0
        self._calls += 1
        return self._calls <= MAX_CALLS

    def hold(self, send: Callable[[], None], now: float) -> None:
        """Call ``send`` at the end of the window."""
        if not self._held:
            self._loop.call_later(max(0.0, self.until - now), self._release)
        self._held.append(send)

    def _release(self) -> None:
        held, self._held = self._held, []
        for send in held:
            send()
