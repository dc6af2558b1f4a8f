"""What was measured: samples by scenario and server, kept as JSON, and the medians made of them."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .load import Sample


@dataclass(frozen=True)
class Metric:
    """What a figure is called in the report, with its unit; ``lower`` says whether less is better, None if neither is."""

    label: str
    digits: int
    lower: bool | None = True


METRICS = {
    "cpu_us": Metric("CPU, µs per request", 1),
    "rps": Metric("requests/s", 0, lower=False),
    "p50_ms": Metric("p50, ms", 2),
    "p90_ms": Metric("p90, ms", 2),
    "p99_ms": Metric("p99, ms", 2),
    "p999_ms": Metric("p99.9, ms", 2),
    "busy": Metric("CPUs used", 2, lower=None),
    "others": Metric("CPUs used by others", 2, lower=None),
    "errors": Metric("errors", 0),
    "cpu_us_message": Metric("CPU, µs per message", 1),
    "mps": Metric("messages/s", 0, lower=False),
    "deliver_ms": Metric("until all have it, ms", 1),
    "kib_connection": Metric("KiB per connection", 1),
    "start_ms": Metric("start to first answer, ms", 0),
    "pss_mib": Metric("PSS of all processes, MiB", 1),
    "private_mib": Metric("private, MiB", 1),
    "worker_mib": Metric("PSS per worker, MiB", 1),
    "processes": Metric("processes", 0, lower=None),
    "wakeups": Metric("context switches/s", 1),
    "worker_wakeups": Metric("of each worker", 1),
    "other_wakeups": Metric("of all others", 1),
    "idle_ms": Metric("CPU, ms per s", 2),
    "answer_ms": Metric("until all new ones answered, ms", 0),
    "ready_ms": Metric("application started, ms", 0),
    "gone_ms": Metric("until the old ones were gone, ms", 0),
    "failed": Metric("failed requests meanwhile", 1),
    "save_ms": Metric("save to new answer, ms", 0),
    "answered_by": Metric("workers that answered", 0, lower=None),
    "worst": Metric("max/mean connections per worker", 2),
}


@dataclass
class Row:
    """One scenario: ``samples`` of each server, ``failures`` in words."""

    title: str
    metrics: list[str]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, server: str, turn: int, sample: Sample) -> None:
        """``turn`` numbers the samples that were taken one right after the other."""
        self.samples.setdefault(server, []).append({**sample, "turn": turn})

    def median(self, server: str, metric: str) -> float | None:
        values = [sample[metric] for sample in self.samples.get(server, []) if metric in sample]
        return statistics.median(values) if values else None

    def ratio(self, ours: str, theirs: str, metric: str) -> float | None:
        """The median of ours divided by theirs in the same turn, because a machine's speed changes from minute to minute."""
        base = {sample["turn"]: sample[metric] for sample in self.samples.get(theirs, [])}
        pairs = [(sample[metric], base.get(sample["turn"])) for sample in self.samples.get(ours, [])]
        ratios = [mine / other for mine, other in pairs if other]
        return statistics.median(ratios) if ratios else None

    def spread(self, server: str, metric: str) -> tuple[float, float]:
        values = [sample[metric] for sample in self.samples[server] if metric in sample]
        return min(values), max(values)


@dataclass
class Results:
    """A whole run."""

    machine: dict[str, str]
    versions: dict[str, str]
    command: str
    rows: dict[str, Row] = field(default_factory=dict)

    def servers(self) -> list[str]:
        """All servers of which anything was measured, in the order in which they first appear."""
        return list(dict.fromkeys(server for row in self.rows.values() for server in row.samples))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))


def load(path: Path) -> Results:
    """Raises OSError, or KeyError for a file of another version of the harness."""
    data = json.loads(path.read_text())
    rows = {name: Row(**row) for name, row in data.pop("rows").items()}
    return Results(**data, rows=rows)
