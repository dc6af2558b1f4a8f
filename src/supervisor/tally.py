"""Counts why workers ended. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .phases import COMING, ExitReason, Phase, Worker

OUT_OF_MEMORY = "out of memory"
"""In the cause of an exit: the kernel's cgroup counted one more kill for want of memory."""
_LIMITS = {
    "--limit-max-requests": ExitReason.REQUESTS,
    "--limit-max-lifetime": ExitReason.LIFETIME,
    "--limit-max-rss": ExitReason.MEMORY,
}
"""What stands in the reason for which a worker is recycled."""


class Tally:
    """All workers that ended since the fleet began."""

    def __init__(self) -> None:
        self._exits: Counter[str] = Counter()

    def restore(self, exits: Mapping[str, int]) -> None:
        """Go on from these :attr:`exits`."""
        self._exits = Counter(exits)

    def exited(self, worker: Worker, cause: str) -> None:
        """A worker is gone, for ``cause`` as the host says it."""
        if OUT_OF_MEMORY in cause:
            reason = ExitReason.OOM
        elif worker.fate is not None:
            reason = worker.fate
        else:
            reason = ExitReason.STARTUP if worker.standing in (*COMING, Phase.FAILED) else ExitReason.CRASH
        self._exits[reason.value] += 1

    @property
    def exits(self) -> tuple[tuple[str, int], ...]:
        """Workers that are gone, by reason."""
        return tuple(sorted(self._exits.items()))


def reason_to_leave(worker: Worker, is_running: bool, size: int, generation: int) -> ExitReason:
    """Why ``worker`` is told to leave by a fleet of this size and generation, which may be about to stop."""
    if not is_running:
        return ExitReason.STOP
    if worker.recycling:
        return next((reason for limit, reason in _LIMITS.items() if limit in worker.recycling), ExitReason.RELOAD)
    if worker.slot >= size and worker.plan.generation == generation:
        return ExitReason.RESIZE
    return ExitReason.RELOAD
