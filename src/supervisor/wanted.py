"""What is wanted of the fleet, a size and a plan, and how the last reload went. Pure: time is passed in.

A reload begins with a new plan. It is *complete* when every slot has a ready worker of that plan. It is *abandoned* when one of
its workers can't start: then the plan that was reached last is wanted again. With a *canary* there are two layers for a while:
the settled plan for all slots, and some workers of the new plan in addition. The canary is *promoted*, and then the reload goes
on as any other; or it is *rolled back*, and workers of its generation are *rejected*: none may serve any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import count
from typing import Any

from ..config.frozen import Value, replace
from ..config.options import Config
from ..ipc.waits import PATIENCE
from .canary import Canary, Terms
from .phases import Phase, Plan, Worker
from .snapshot import LastReload, Result
from .waiting import describe_workers


def count_workers(size: int) -> str:
    """``size`` workers, in words."""
    return f"{size} {'worker' if size == 1 else 'workers'}"


class Layer(Value):
    """One plan, how many workers it is wanted for, and those that count for it."""

    plan: Plan
    size: int
    workers: Collection[Worker]


class Wanted:
    """The size and the plan that are wanted."""

    def __init__(self, config: Config) -> None:
        self.size = config.workers
        self.plan = self.settled = Plan(0, config)
        """What new workers are born as, and the plan that was reached last."""
        self.last_reload: LastReload | None = None
        self._ended: Counter[str] = Counter()
        """Reloads that ended, by result."""
        self.canary: Canary | None = None
        """The canary that is being tried."""
        self._rejected: set[int] = set()
        """Generations whose workers must not serve."""
        self._generations = count(1)
        self._untold: LastReload | None = None
        """The complete reload whose end is still to be logged."""

    def state(self) -> dict[str, Any]:
        """All of it, fit for JSON, but for the plans' configurations. No reload may be under way."""
        self._generations = count(number := next(self._generations))
        return {
            "size": self.size,
            "generation": self.plan.generation,
            "last_reload": None if self.last_reload is None else self.last_reload.state(),
            "is_untold": self._untold is not None,
            "ended": dict(self._ended),
            "rejected": sorted(self._rejected),
            "next_generation": number,
        }

    def restore(self, state: Mapping[str, Any], plan: Plan) -> None:
        """Go on from this :meth:`state`, with the plan of its generation."""
        self.size = state["size"]
        self.plan = self.settled = plan
        self.last_reload = None if state["last_reload"] is None else LastReload.restored(state["last_reload"])
        self._untold = self.last_reload if state["is_untold"] else None
        self._ended = Counter(state["ended"])
        self._rejected = set(state["rejected"])
        self._generations = count(state["next_generation"])

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

    def is_rejected(self, worker: Worker) -> bool:
        """Whether ``worker`` is of a canary that was given up."""
        return worker.plan.generation in self._rejected

    def is_canary(self, worker: Worker) -> bool:
        """Whether ``worker`` is of the canary that is being tried."""
        return self.canary is not None and worker.plan is self.plan

    def layers(self, workers: Collection[Worker]) -> list[Layer]:
        """What is wanted: of each plan how many workers, and who of ``workers`` counts for it. One layer, but for a canary."""
        mine = [worker for worker in workers if not self.is_rejected(worker)]
        if self.canary is None:
            return [Layer(self.plan, self.size, mine)]
        return [
            Layer(self.settled, self.size, [worker for worker in mine if worker.plan is not self.plan]),
            Layer(self.plan, self.canary.terms.count(self.size), [worker for worker in mine if worker.plan is self.plan]),
        ]

    def reload(self, config: Config | None, began: float, canary: Terms | None = None) -> None:
        """Want a new generation, born with ``config`` (None: with the one in use); first as a ``canary``, if there is one."""
        if self.canary is not None:
            self._reject()
        plan = Plan(next(self._generations), config or self.plan.config)
        if canary is None:
            self._adopt(plan)
        else:
            # Its size is wanted when it is promoted. If another reload was under way, those that it has replaced stay so.
            self.plan = plan
            self.canary = Canary(plan.generation, canary)
        self.last_reload = LastReload(plan.generation, began)

    def promote(self) -> None:
        """The canary has proved itself: its plan is wanted in all slots."""
        self.canary, plan = None, self.plan
        self.plan = self.settled
        self._adopt(plan)

    def roll_back(self, error: str, result: Result, now: float) -> None:
        """Give the canary up for an ``error``: want what was reached last, and none of its workers."""
        self._end(result, now, error)
        self._reject()
        self.plan = self.settled

    def _reject(self) -> None:
        assert self.canary is not None
        self._rejected.add(self.canary.generation)
        self.canary = None

    def settle(self, workers: Collection[Worker], now: float) -> None:
        """If the reload that is under way is complete, record that."""
        self._rejected.intersection_update([worker.plan.generation for worker in workers])
        if self.canary or self.is_settled or self.is_replacing(workers) or not self.has_all_ready(workers):
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
