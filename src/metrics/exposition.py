"""Metrics as text: Prometheus' format 0.0.4, and OpenMetrics 1.0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from ..config.frozen import Value
from ..ipc.counts import BOUNDS
from .table import METRICS, Metric, Type

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Labels = tuple[str, ...]
"""The values of a metric's labels, in the order of its table."""


class Distribution(Value):
    """The value of a histogram."""

    seconds: float
    """The sum."""
    buckets: tuple[float, ...]
    """How many were within each of ``BOUNDS`` and above the one before, and how many above all."""


Sample = float | Distribution
Samples = Mapping[str, Mapping[Labels, Sample]]
"""The values of each metric by their labels, by the metric's name."""


def expose(samples: Samples, openmetrics: bool = False) -> str:
    """The text of all metrics that ``samples`` has, also of those that have no value yet."""
    lines: list[str] = []
    for name, metric in METRICS.items():
        values = samples.get(name)
        if values is not None:
            lines += _family(metric, values, openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def is_openmetrics(accept: str) -> bool:
    """Whether a client that sends this Accept header wants OpenMetrics rather than the older text."""
    best = {"openmetrics": 0.0, "text": 0.0}
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if kind == "application/openmetrics-text":
            best["openmetrics"] = max(best["openmetrics"], weight)
        elif kind in ("text/plain", "text/*", "*/*"):
            best["text"] = max(best["text"], weight)
    return best["openmetrics"] > 0 and best["openmetrics"] >= best["text"]


def _family(metric: Metric, values: Mapping[Labels, Sample], openmetrics: bool) -> Iterable[str]:
    # OpenMetrics names a counter's family without the ending that its samples have.
    family = metric.name.removesuffix("_total") if openmetrics and metric.type is Type.COUNTER else metric.name
    yield f"# HELP {family} {_escape_help(metric.help, openmetrics)}"
    yield f"# TYPE {family} {metric.type.value}"
    if openmetrics and metric.unit:
        yield f"# UNIT {family} {metric.unit}"
    for labels, value in values.items():
        if isinstance(value, Distribution):
            yield from _histogram(metric, labels, value)
        else:
            yield f"{metric.name}{_braces(metric.labels, labels)} {_number(value)}"


def _histogram(metric: Metric, labels: Labels, value: Distribution) -> Iterable[str]:
    names = (*metric.labels, "le")
    *within, total = accumulate(value.buckets)
    for bound, count in zip(BOUNDS, within, strict=True):
        yield f"{metric.name}_bucket{_braces(names, (*labels, _number(bound)))} {_number(count)}"
    yield f"{metric.name}_bucket{_braces(names, (*labels, '+Inf'))} {_number(total)}"
    yield f"{metric.name}_sum{_braces(metric.labels, labels)} {_number(value.seconds)}"
    yield f"{metric.name}_count{_braces(metric.labels, labels)} {_number(total)}"


def _braces(names: Sequence[str], values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escape_help(text: str, openmetrics: bool) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if openmetrics else escaped


def _number(value: float) -> str:
    """Whole numbers without a point; all others as Python has them, which no precision is lost by."""
    return str(int(value)) if value == int(value) and abs(value) < 2.0**53 else repr(float(value))
