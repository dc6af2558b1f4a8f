"""Which signals are one wish to stop, and which is a second wish: to stop at once.

One wish often arrives as several signals: a terminal sends INT to the whole process group while ``timeout``, foreman or a shell
passes TERM on. A person who types Ctrl-C again means it. Pure: time is passed in.
"""

from __future__ import annotations

TOGETHER = 2.0
"""Seconds after the first signal in which others are the same wish: process managers pass a signal on within one."""
TYPED_TOGETHER = 0.5
"""The same, for Ctrl-C typed at a terminal: longer than wrappers take to pass it on, shorter than a person takes to decide."""


class StopWishes:
    """The wishes to stop so far."""

    def __init__(self) -> None:
        self._first: float | None = None
        """When the first signal came."""

    def is_another(self, now: float, typed: bool) -> bool:
        """Record a signal that asks to stop; returns whether it is a further wish. ``typed``: it is Ctrl-C at a terminal."""
        if self._first is None:
            self._first = now
            return False
        return now - self._first > (TYPED_TOGETHER if typed else TOGETHER)
