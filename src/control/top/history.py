"""From what ``status`` says once a second to the figures that ``top`` shows: rates, latency, news. Pure; time is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...config.frozen import Value
from ...ipc.counts import grown, quantile
from ..show import blocked

WINDOW = 5.0
"""Seconds over which rates are taken: workers show their figures once a second, so those of a shorter time would flicker."""
MAX_NEWS = 50
"""Lines of news that are kept; a large terminal has room for as many."""

Status = Mapping[str, Any]
"""The answer of ``status``; see docs/control.md."""


class Row(Value):
    """One worker's figures. None means: not known, or not known yet."""

    id: int
    slot: int
    pid: int | None
    generation: int
    phase: str
    rate: float | None
    """Requests per second."""
    in_flight: int | None
    connections: int | None
    lag: float | None
    """Seconds."""
    cpu: float | None
    """Share of one CPU."""
    memory: int | None
    """Bytes."""
    p50: float | None
    """Half of the last responses took no longer than so many seconds; None if there were none."""
    p99: float | None
    age: float
    """Seconds."""
    restarts: int
    blocked: str = ""
    """What keeps its event loop from turning, in words."""


class History:
    """The samples of the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Status]] = deque()
        self.news: deque[str] = deque(maxlen=MAX_NEWS)
        """What happened, the oldest first."""

    def add(self, status: Status, now: float, clock: str) -> None:
        """Take an answer that came at the time ``now`` (monotonic seconds); ``clock`` stands before its news."""
        if self._samples:
            self.news.extend(f"{clock} {line}" for line in compare(self._samples[-1][1], status))
        self._samples.append((now, status))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()

    @property
    def status(self) -> Status | None:
        """The newest answer; None before the first."""
        return self._samples[-1][1] if self._samples else None

    def rows(self) -> list[Row]:
        """The workers, as of now."""
        if not self._samples:
            return []
        now, status = self._samples[-1]
        return [self._row(worker, now) for worker in status["workers"]]

    def _row(self, worker: Mapping[str, Any], now: float) -> Row:
        then, before = self._first_of(worker["id"])
        durations = grown(before["durations"] or (), worker["durations"] or ())
        return Row(
            worker["id"],
            worker["slot"],
            worker["pid"],
            worker["generation"],
            worker["phase"],
            _per_second(before["requests"], worker["requests"], now - then),
            worker["in_flight"],
            worker["connections"],
            worker["lag"],
            _per_second(before["cpu_seconds"], worker["cpu_seconds"], now - then),
            worker["rss_bytes"],
            quantile(durations, 0.5),
            quantile(durations, 0.99),
            worker["age"],
            worker["restarts"],
            blocked(dict(worker)) if worker["blocked"] is not None else "",
        )

    def _first_of(self, id: int) -> tuple[float, Mapping[str, Any]]:
        """The oldest sample that has the worker."""
        return next((at, worker) for at, status in self._samples for worker in status["workers"] if worker["id"] == id)


def _per_second(before: float | None, after: float | None, seconds: float) -> float | None:
    if before is None or after is None or seconds <= 0:
        return None
    return max(0.0, after - before) / seconds


def sort_rows(rows: Sequence[Row], by: str, reverse: bool) -> list[Row]:
    """The rows in the order of the column ``by``; what is not known comes last, and slots decide between equals."""
    known = [row for row in rows if getattr(row, by) is not None]
    others = [row for row in rows if getattr(row, by) is None]
    known.sort(key=lambda row: (row.slot, row.id))
    known.sort(key=lambda row: getattr(row, by), reverse=reverse)
    return known + others


def compare(before: Status, after: Status) -> Iterator[str]:
    """What has happened between two answers, in words."""
    old = {worker["id"]: worker for worker in before["workers"]}
    new = {worker["id"]: worker for worker in after["workers"]}
    for id, worker in old.items():
        if id not in new:
            yield f"{_name(worker)} is gone{_why(worker, after)}"
    for id, worker in new.items():
        if id not in old:
            yield f"{_name(worker)} {worker['phase']}"
        elif worker["phase"] != old[id]["phase"]:
            yield f"{_name(worker)} {worker['phase']} (was {old[id]['phase']})"
    yield from _compare_fleets(before["supervisor"], after["supervisor"])


def _compare_fleets(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if after["stage"] != before["stage"]:
        yield f"The fleet is {after['stage']} (was {before['stage']})"
    if after["wanted"] != before["wanted"]:
        yield f"{after['wanted']} workers are wanted (were {before['wanted']})"
    reload, earlier = after["last_reload"], before["last_reload"]
    if reload is not None and (earlier is None or _key(reload) != _key(earlier)):
        error = f": {reload['error'].strip().splitlines()[-1]}" if reload["error"] else ""
        yield f"Reload {reload['result']}, generation {reload['generation']}{error}"


def _key(reload: Mapping[str, Any]) -> tuple[Any, ...]:
    return reload["generation"], reload["result"]


def _name(worker: Mapping[str, Any]) -> str:
    pid = f" [{worker['pid']}]" if worker["pid"] is not None else ""
    return f"Worker {worker['slot']}{pid}"


def _why(worker: Mapping[str, Any], after: Status) -> str:
    """The cause, if the slot's count of deaths has grown."""
    deaths = [(one["restarts"], one.get("last_death")) for one in after["workers"] if one["slot"] == worker["slot"]]
    cause = next((cause for restarts, cause in deaths if restarts > worker["restarts"]), None)
    return f": {cause}" if cause else ""
