"""What is wanted of the fleet, a size and a plan, and how the last reload went. Pure: time is passed in.

A reload begins with a new plan. It is *complete* when every slot has a ready worker of that plan. It is *abandoned* when one of
its workers can't start: then the plan that was reached last is wanted again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import count

from ..config.frozen import replace
from ..config.options import Config
from ..ipc.waits import PATIENCE
from .phases import Phase, Plan, Worker
from .snapshot import LastReload, Result
from .waiting import describe_workers


class Wanted:
    """The size and the plan that are wanted."""

    def __init__(self, config: Config) -> None:
        self.size = config.workers
        self.plan = self.settled = Plan(0, config)
        """What new workers are born as, and the plan that was reached last."""
        self.last_reload: LastReload | None = None
        self._ended: Counter[str] = Counter()
        """Reloads that ended, by result."""
        self._generations = count(1)
        self._untold: LastReload | None = None
        """The complete reload whose end is still to be logged."""

    @property
    def reloads(self) -> tuple[tuple[str, int], ...]:
        """Reloads that ended, by result."""
        return tuple(sorted(self._ended.items()))

    @property
    def is_settled(self) -> bool:
        """Whether no reload is under way."""
        return self.plan is self.settled

    @property
    def is_development(self) -> bool:
        """Whether new code matters more than old requests: old workers leave before their successors come."""
        return self.plan.config.reload

    @property
    def tell_at(self) -> float | None:
        """When the end of a reload is logged even if old workers are still there."""
        return self._untold.ended + PATIENCE if self._untold is not None and self._untold.ended is not None else None

    def is_old(self, worker: Worker) -> bool:
        """Whether ``worker`` is of an older generation than the plan."""
        return worker.plan.generation < self.plan.generation

    def is_replacing(self, workers: Collection[Worker]) -> bool:
        """Whether old workers still serve: then those of the plan are in the middle of taking their places."""
        return any(worker.standing is Phase.READY and self.is_old(worker) for worker in workers)

    def has_all_ready(self, workers: Collection[Worker]) -> bool:
        """Whether each slot has a ready worker."""
        served = {worker.slot for worker in workers if worker.phase is Phase.READY}
        return served.issuperset(range(self.size))

    def resize(self, size: int) -> None:
        """Want ``size`` workers, but at least one."""
        self.size = max(1, size)

    def reload(self, config: Config | None, began: float) -> None:
        """Want a new generation, born with ``config`` (None: with the one in use)."""
        self._adopt(Plan(next(self._generations), config or self.plan.config))
        self.last_reload = LastReload(self.plan.generation, began)

    def settle(self, workers: Collection[Worker], now: float) -> None:
        """If the reload that is under way is complete, record that."""
        if self.is_settled or self.is_replacing(workers) or not self.has_all_ready(workers):
            return
        self.settled = self.plan
        self._end(Result.COMPLETE, now)
        if not self.is_development:
            self._untold = self.last_reload

    def abandon(self, error: str, now: float) -> None:
        """End the reload for an ``error``, and want what was reached last. So a worker that crashes now can be replaced."""
        self._end(Result.ABANDONED, now, error)
        self._adopt(self.settled)

    def refuse(self, error: str, now: float) -> int:
        """A reload can't even begin, for an ``error``; returns its generation. A reload that is under way goes on."""
        generation = next(self._generations)
        self._ended[Result.ABANDONED.value] += 1
        if self.last_reload is None or self.last_reload.result is not Result.UNDER_WAY:
            self.last_reload = LastReload(generation, now, now, Result.ABANDONED, error)
        return generation

    def cut_short(self, why: str, now: float) -> None:
        """A reload that is under way will not go on."""
        if self.last_reload is not None and self.last_reload.result is Result.UNDER_WAY:
            self._end(Result.ABANDONED, now, why)

    def tell_complete(self, workers: Collection[Worker], is_running: bool, now: float) -> str:
        """The line that says that a reload is complete, once: when no old worker is left or, after a while, what they wait for.

        Empty if there is nothing to say. ``is_running``: whether no stop was ordered.
        """
        done = self._untold
        if done is None or done.ended is None:
            return ""
        old = [worker for worker in workers if worker.plan.generation < self.settled.generation]
        if old and self.is_settled and is_running and now < done.ended + PATIENCE:
            return ""
        self._untold = None
        text = f"Reload complete in {done.ended - done.began:.1f} s"
        noun = "worker waits" if len(old) == 1 else "workers wait"
        return f"{text}; {len(old)} old {noun} for {describe_workers(old, now)}" if old else text

    def _end(self, result: Result, now: float, error: str = "") -> None:
        if self.last_reload is not None:
            self._ended[result.value] += 1
            self.last_reload = replace(self.last_reload, ended=now, result=result, error=error)

    def _adopt(self, plan: Plan) -> None:
        # A size that was changed by hand stays, unless the configuration itself names another.
        if plan.config.workers != self.plan.config.workers:
            self.size = plan.config.workers
        self.plan = plan
