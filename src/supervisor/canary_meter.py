"""Measures a canary: what its workers and all others have answered since it began, from the exact counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..ipc.counts import BOUNDS, Counts, WorkerCounts, quantile
from .canary import Evidence, Group
from .child import Child
from .messages import Measure, Measured

P95 = 0.95


class CanaryMeter:
    """Compares the figures of a generation, and those of all others, with what they were when the canary began."""

    def __init__(self, counts: WorkerCounts, counted_by: Callable[[int], Counts]) -> None:
        """``counted_by`` gives what the workers of a generation have counted, the living and those that are gone."""
        self._counts = counts
        self._counted_by = counted_by
        self._generation: int | None = None
        self._before: tuple[list[float], list[float]] = ([], [])

    def measure(self, action: Measure, children: Iterable[Child]) -> Measured:
        """The evidence that ``action`` asks for; with ``fresh`` the measuring begins again."""
        now = self._figures(action.generation, list(children))
        if action.fresh or self._generation != action.generation:
            self._generation, self._before = action.generation, now
        canary, others = (
            [max(0.0, value - before) for value, before in zip(figures, then, strict=True)]
            for figures, then in zip(now, self._before, strict=True)
        )
        p95 = quantile(others[2:], P95)
        slow = slower(canary[2:], p95 * action.max_latency) if p95 is not None else 0.0
        return Measured(action.generation, Evidence(_group(canary), _group(others), slow))

    def _figures(self, generation: int, living: list[Child]) -> tuple[list[float], list[float]]:
        """Requests, errors and buckets of the generation, and of all others."""
        everybody = self._counts.read(child.row for child in living)
        everybody.add_all(self._counts.departed)
        its = _figures_of(self._counted_by(generation))
        return its, [value - mine for value, mine in zip(_figures_of(everybody), its, strict=True)]


def _figures_of(counts: Counts) -> list[float]:
    return [counts.requests(), counts.server_errors(), *counts.durations()]


def _group(figures: list[float]) -> Group:
    return Group(figures[0], figures[1], quantile(figures[2:], P95))


def slower(buckets: list[float], seconds: float) -> float:
    """How many took longer than ``seconds``, taken as even within a bucket; above the last bound, all of the last bucket."""
    count, lower = 0.0, 0.0
    for number, upper in zip(buckets, BOUNDS, strict=False):
        if seconds <= lower:
            count += number
        elif seconds < upper:
            count += number * (upper - seconds) / (upper - lower)
        lower = upper
    return count + buckets[-1]
