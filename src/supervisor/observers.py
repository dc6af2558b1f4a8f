"""What watches the fleet and tells others: observers of its snapshots."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from .phases import Stage
from .snapshot import Snapshot

logger = logging.getLogger("tricorn.error")


class Observer(Protocol):
    """Looks at the fleet after each of its decisions.

    It compares what it sees with what it told last, and tells the difference. Times are seconds of CLOCK_MONOTONIC.
    """

    due: float | None
    """When to look again even if nothing happens; None if never."""

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Tell what has changed; never blocks."""


def look_all(observers: Iterable[Observer], snapshot: Snapshot, now: float) -> float | None:
    """Let all ``observers`` look; returns when the first of them wants to look again, None if none does."""
    due: list[float] = []
    for observer in observers:
        observer.look(snapshot, now)
        if observer.due is not None:
            due.append(observer.due)
    return min(due, default=None)


class Greeter:
    """Tells the operator once that the fleet serves ``what``."""

    due: float | None = None

    def __init__(self, what: str, has_told: bool = False) -> None:
        """``has_told``: it serves already."""
        self._what = what
        self._has_told = has_told

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Log one line when the first worker is ready."""
        if not self._has_told and snapshot.stage is Stage.SERVING:
            self._has_told = True
            logger.info("Serving %s (press CTRL+C to quit)", self._what)
