"""The last ten minutes: rates and latencies for the plots. Pure: readings are passed in."""

from __future__ import annotations

from collections import deque

from ..config.frozen import Value
from ..ipc.counts import Counts, grown, quantile
from ..metrics.gather import Facts

EVERY = 2.0
"""Seconds between two points: 300 of them are as many as a plot has pixels for."""
KEPT = 300


class Point(Value):
    """What went on in one period."""

    time: float
    """Its end, in seconds of the wall clock."""
    rate: float
    """Requests a second."""
    errors: float
    """Those with a status of 500 or more, a second."""
    p50: float | None
    """Seconds; None if there was no request."""
    p99: float | None
    in_flight: float
    memory: float | None
    """Bytes."""
    workers: int
    """Those that are ready."""

    def row(self) -> list[float | int | None]:
        """The values in order, rounded, fit for JSON."""
        return [
            round(self.time, 1),
            round(self.rate, 2),
            round(self.errors, 3),
            None if self.p50 is None else round(self.p50, 5),
            None if self.p99 is None else round(self.p99, 5),
            self.in_flight,
            self.memory,
            self.workers,
        ]


class History:
    """Makes a point of each two readings that follow each other."""

    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=KEPT)
        self._before: Counts | None = None
        self._at = 0.0

    def add(self, facts: Facts, now: float, wall: float) -> Point | None:
        """A reading taken at the time ``now``; returns the new point, None after the first reading."""
        before, seconds = self._before, now - self._at
        self._before, self._at = facts.counts, now
        if before is None or seconds <= 0:
            return None
        durations = grown(before.durations(), facts.counts.durations())
        point = Point(
            wall,
            max(0.0, facts.counts.requests() - before.requests()) / seconds,
            max(0.0, facts.counts.server_errors() - before.server_errors()) / seconds,
            quantile(durations, 0.5),
            quantile(durations, 0.99),
            facts.in_flight,
            facts.memory_bytes,
            facts.phases.get("ready", 0),
        )
        self.points.append(point)
        return point
