"""The metrics in OpenTelemetry's data model: cumulative sums, gauges, and histograms with our bounds.

The points are made here, not by OpenTelemetry's instruments: those count by themselves, and could only repeat our counts
by differences. So what is sent is exactly what ``/metrics`` shows, and what is lost on the way is made good by the next push.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Any

# Only imported where metrics are sent.
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ..ipc.counts import BOUNDS
from ..metrics.exposition import Distribution, Labels, Sample, Samples
from ..metrics.table import METRICS, Metric, Type
from ..version import __version__

NANO = 1_000_000_000
UNITS = {"seconds": "s", "bytes": "By", "": ""}
"""The names of units in UCUM, as OpenTelemetry wants them. Plain numbers have none: ``1`` would mean a ratio."""
CUMULATIVE = otel.AggregationTemporality.CUMULATIVE
MAKE: dict[Type, Callable[[list[Any]], Any]] = {
    Type.COUNTER: lambda points: otel.Sum(points, CUMULATIVE, is_monotonic=True),
    Type.GAUGE: lambda points: otel.Gauge(points),
    Type.HISTOGRAM: lambda points: otel.Histogram(points, CUMULATIVE),
}
"""What holds the points of a metric, by its type."""


def resource_of(pid: int, began: float) -> Resource:
    """What names the fleet of the supervisor ``pid``. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first."""
    host = socket.gethostname()
    # No two fleets may write the same series, so each start has an id of its own. A new admin process goes on with it.
    instance = uuid.uuid5(uuid.NAMESPACE_DNS, f"{pid}.{began!r}.{host}")
    own: dict[str, Any] = {
        "service.name": "tricorn",
        "service.instance.id": str(instance),
        "host.name": host,
        "process.pid": pid,
    }
    return Resource(own).merge(OTELResourceDetector().detect())


def make_data(samples: Samples, resource: Resource, began: float, now: float) -> otel.MetricsData:
    """All that ``samples`` has, as it was at ``now``; both times are seconds of the wall clock."""
    start, end = int(began * NANO), int(now * NANO)
    found = [_metric(METRICS[name], values, start, end) for name, values in samples.items()]
    scope = otel.ScopeMetrics(InstrumentationScope("tricorn", __version__), found, "")
    return otel.MetricsData([otel.ResourceMetrics(resource, [scope], "")])


def _metric(metric: Metric, values: Mapping[Labels, Sample], start: int, end: int) -> otel.Metric:
    points = [
        _point(metric, dict(zip(metric.labels, labels, strict=True)), value, start, end) for labels, value in values.items()
    ]
    return otel.Metric(metric.name, metric.help, UNITS[metric.unit], MAKE[metric.type](points))


def _point(
    metric: Metric, attributes: dict[str, str], value: Sample, start: int, end: int
) -> otel.NumberDataPoint | otel.HistogramDataPoint:
    if isinstance(value, Distribution):
        buckets = [int(count) for count in value.buckets]
        # The smallest and the largest duration.
        unknown: Any = None
        return otel.HistogramDataPoint(attributes, start, end, sum(buckets), value.seconds, buckets, BOUNDS, unknown, unknown)
    # A series keeps its type: only seconds have a fraction.
    return otel.NumberDataPoint(attributes, start, end, value if metric.unit == "seconds" else int(value))
