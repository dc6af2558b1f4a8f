"""From what is known of a fleet to the values of its metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.frozen import Value
from ..ipc.counts import Cell, Counts, name_key
from .exposition import Distribution, Labels, Sample

PHASES = ("starting", "ready", "draining", "hung", "killed")
EXITS = ("crash", "oom", "hang", "startup", "requests", "lifetime", "memory", "reload", "resize", "stop")
"""Why a worker is gone."""
RESULTS = ("complete", "abandoned", "rolled_back")
"""How a reload ended."""


class Facts(Value):
    """All that the metrics are made of."""

    counts: Counts
    """What all workers have counted, also those that are gone."""
    in_flight: float
    connections: float
    """All that are open, of whatever protocol."""
    websockets: float
    multiplexed: float
    """Those that speak HTTP/2."""
    phases: Mapping[str, int]
    """Workers by phase."""
    wanted: int
    exits: Mapping[str, int]
    reloads: Mapping[str, int]
    generation: int
    lag: float
    """The largest of all workers, in seconds."""
    accept_queues: Mapping[str, int]
    """Waiting connections by listener."""
    memory_bytes: float | None
    """None where the system does not tell."""
    cpu_seconds: float | None


def encode(facts: Facts) -> dict[str, Any]:
    """The facts, fit for JSON."""
    return {**vars(facts), "counts": [facts.counts.plain, [[key, *values] for key, values in facts.counts.blocks.items()]]}


def decode(encoded: Mapping[str, Any], **measured: Any) -> Facts:
    """What :func:`encode` gave, with what was ``measured`` since."""
    plain, blocks = encoded["counts"]
    counts = Counts()
    counts.plain = plain
    counts.blocks = {key: values for key, *values in blocks}
    return Facts(**{**encoded, **measured, "counts": counts})


def gather(facts: Facts) -> dict[str, dict[Labels, Sample]]:
    """The values of all metrics, by name and labels."""
    counts = facts.counts
    requests: dict[Labels, Sample] = {}
    durations: dict[str, list[float]] = {}
    for key, values in sorted(counts.blocks.items()):
        method, status = name_key(key)
        requests[method, status] = sum(values[1:])
        known = durations.get(method)
        durations[method] = values if known is None else [a + b for a, b in zip(known, values, strict=True)]
    samples: dict[str, dict[Labels, Sample]] = {
        "tricorn_http_requests_total": requests,
        "tricorn_http_request_duration_seconds": {
            (method,): Distribution(values[0], tuple(values[1:])) for method, values in durations.items()
        },
        "tricorn_http_requests_in_flight": {(): facts.in_flight},
        "tricorn_connections": {
            ("http1",): max(0.0, facts.connections - facts.websockets - facts.multiplexed),
            ("http2",): facts.multiplexed,
            ("websocket",): facts.websockets,
        },
        "tricorn_received_bytes_total": {(): counts.plain[Cell.RECEIVED]},
        "tricorn_sent_bytes_total": {(): counts.plain[Cell.SENT]},
        "tricorn_websocket_messages_total": {
            ("received",): counts.plain[Cell.MESSAGES_RECEIVED],
            ("sent",): counts.plain[Cell.MESSAGES_SENT],
        },
        "tricorn_workers": {(phase,): float(facts.phases.get(phase, 0)) for phase in PHASES},
        "tricorn_workers_wanted": {(): float(facts.wanted)},
        "tricorn_worker_exits_total": {(reason,): float(facts.exits.get(reason, 0)) for reason in EXITS},
        "tricorn_reloads_total": {(result,): float(facts.reloads.get(result, 0)) for result in RESULTS},
        "tricorn_generation": {(): float(facts.generation)},
        "tricorn_loop_lag_seconds": {(): facts.lag},
        "tricorn_accept_queue": {(listener,): float(waiting) for listener, waiting in facts.accept_queues.items()},
    }
    if facts.memory_bytes is not None:
        samples["tricorn_memory_bytes"] = {(): facts.memory_bytes}
    if facts.cpu_seconds is not None:
        samples["tricorn_cpu_seconds_total"] = {(): facts.cpu_seconds}
    return samples
