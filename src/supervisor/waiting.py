"""What draining workers wait for, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.frozen import replace
from ..ipc.waits import describe
from .phases import Worker


def describe_workers(workers: Sequence[Worker], now: float) -> str:
    """What one or more ``workers`` wait for at the time ``now``, as they told last. Those that told nothing may be blocked."""
    told = [
        replace(worker.waits, age=worker.waits.age + now - worker.told_at) for worker in workers if worker.waits is not None
    ]
    if told:
        return describe(told)
    return f"worker {workers[0].slot}" if len(workers) == 1 else f"{len(workers)} workers"
