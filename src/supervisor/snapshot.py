"""All that may be shown of a fleet, as one frozen value. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from ..config.frozen import Value
from .phases import RUNNING, Phase, Plan, Stage
from .templates import TemplatePhase


class Result(Enum):
    """How a reload went."""

    UNDER_WAY = "under way"
    COMPLETE = "complete"
    ABANDONED = "abandoned"
    ROLLED_BACK = "rolled_back"
    """A canary was worse than the others, or had too few requests."""


class LastReload(Value):
    """The reload that was ordered last. Times are seconds of CLOCK_MONOTONIC."""

    generation: int
    began: float
    """When the order came; with ``--reload``, when the files were saved."""
    ended: float | None = None
    """When the new generation was complete, or the reload was abandoned; None while it is under way."""
    result: Result = Result.UNDER_WAY
    error: str = ""
    """Why it was abandoned."""

    def state(self) -> list[Any]:
        """All of it, fit for JSON."""
        return [self.generation, self.began, self.ended, self.result.value, self.error]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> LastReload:
        """The one whose :meth:`state` that is."""
        generation, began, ended, result, error = state
        return cls(generation, began, ended, Result(result), error)


class WorkerSnapshot(Value):
    """One worker."""

    slot: int
    id: int
    phase: Phase
    generation: int
    since: float
    """When it was forked, in seconds of CLOCK_MONOTONIC; its age follows from it."""
    restarts: int
    """Crashes, hangs and failed starts of its slot since the fleet began."""
    last_death: str = ""
    """Why the last worker of its slot died, in one line; empty if none did. An end that was ordered is no death."""


class TemplateSnapshot(Value):
    """One template."""

    id: int
    phase: TemplatePhase
    generation: int
    since: float
    """When it was forked, in seconds of CLOCK_MONOTONIC."""
    has_app: bool
    """Whether it shares the application, and not only packages."""


class Snapshot(Value):
    """A fleet between two decisions; equal to the one before if nothing has changed."""

    stage: Stage
    workers: tuple[WorkerSnapshot, ...]
    """All that are not gone yet, in the order of their forks."""
    wanted: int
    """How many workers there should be."""
    plan: Plan
    """What new workers are born as."""
    settled: Plan
    """What was reached last: the plan of the last complete generation."""
    last_reload: LastReload | None
    """None before the first."""
    is_complete: bool
    """Whether every slot has a ready worker of the plan."""
    exits: tuple[tuple[str, int], ...] = ()
    """Workers that are gone, by reason (see :class:`ExitReason`), since the fleet began."""
    reloads: tuple[tuple[str, int], ...] = ()
    """Reloads that ended, by result."""
    canary: str = ""
    """With a canary: what it and the others have answered, in words."""
    templates: tuple[TemplateSnapshot, ...] = ()
    """With ``--preload``: all that are not gone yet."""

    @property
    def generation(self) -> int:
        """The generation that new workers are born in."""
        return self.plan.generation

    @property
    def ready(self) -> int:
        """How many workers are ready; a hung one, which may come back, is not."""
        return sum(worker.phase is Phase.READY for worker in self.workers)

    @property
    def is_running(self) -> bool:
        """Whether no stop was ordered yet."""
        return self.stage in RUNNING
