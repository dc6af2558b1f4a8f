"""Every metric that Tricorn shows, each declared once. ``docs/metrics.md`` is written from this table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ..config.frozen import Value


class Type(Enum):
    """What the values of a metric mean over time; the names are those of Prometheus."""

    COUNTER = "counter"
    """It only grows; over crashes, recycling and reloads, too."""
    GAUGE = "gauge"
    """How it is now."""
    HISTOGRAM = "histogram"
    """How many were at most so large, by bounds; the count and the sum of all."""


class Metric(Value):
    """One metric."""

    name: str
    """As it is shown; a counter's ends with ``_total``."""
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    """``seconds`` or ``bytes``; empty for a plain number."""


_METRICS = (
    Metric("tricorn_http_requests_total", Type.COUNTER, "Responses that ended, by exact status.", ("method", "status")),
    Metric(
        "tricorn_http_request_duration_seconds",
        Type.HISTOGRAM,
        "From a request's head to the end of its response.",
        ("method",),
        "seconds",
    ),
    Metric("tricorn_http_requests_in_flight", Type.GAUGE, "Requests that are being answered."),
    Metric("tricorn_connections", Type.GAUGE, "Open connections.", ("protocol",)),
    Metric("tricorn_received_bytes_total", Type.COUNTER, "Bytes read from clients, without TLS's own.", unit="bytes"),
    Metric("tricorn_sent_bytes_total", Type.COUNTER, "Bytes written to clients, without TLS's own.", unit="bytes"),
    Metric("tricorn_websocket_messages_total", Type.COUNTER, "Messages of WebSockets.", ("direction",)),
    Metric("tricorn_workers", Type.GAUGE, "Workers by phase.", ("phase",)),
    Metric("tricorn_workers_wanted", Type.GAUGE, "How many workers there should be."),
    Metric("tricorn_worker_exits_total", Type.COUNTER, "Workers that are gone, by the reason why.", ("reason",)),
    Metric("tricorn_reloads_total", Type.COUNTER, "Reloads that ended, by result.", ("result",)),
    Metric("tricorn_generation", Type.GAUGE, "The generation that was reached last: reloads since the start."),
    Metric(
        "tricorn_loop_lag_seconds",
        Type.GAUGE,
        "For how long an event loop was, or is, kept from turning; the largest of all workers.",
        unit="seconds",
    ),
    Metric("tricorn_accept_queue", Type.GAUGE, "Connections that wait to be accepted.", ("listener",)),
    Metric(
        "tricorn_memory_bytes",
        Type.GAUGE,
        "Memory of all processes of the server, what they share counted once (PSS) where the system tells.",
        unit="bytes",
    ),
    Metric("tricorn_cpu_seconds_total", Type.COUNTER, "CPU time of all processes of the server.", unit="seconds"),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _METRICS}
"""All metrics by name, in the order in which they are shown."""
