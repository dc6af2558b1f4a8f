"""``tricornctl metrics``: the text of /metrics, also where there is no admin listener."""

from __future__ import annotations

from typing import Any

from ..ipc.address import Address
from ..metrics.exposition import expose
from ..metrics.gather import decode, gather
from ..metrics.processes import cpu_of, memory_of
from ..metrics.queues import accept_queues


def render(answer: dict[str, Any]) -> str:
    """The metrics of the supervisor's answer, with what this process measures."""
    supervisor, *workers = answer["pids"]
    facts = decode(
        answer["facts"],
        accept_queues=accept_queues(Address(host, port) for host, port in answer["listeners"]),
        memory_bytes=memory_of(answer["pids"]),
        cpu_seconds=cpu_of(supervisor, workers),
    )
    return expose(gather(facts)).rstrip()
