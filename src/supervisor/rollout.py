"""A new generation's way into the fleet: ordered, perhaps tried as a canary, and given up if it is no good. Pure.

``wanted.py`` has what is wanted; this module decides when that changes, and logs it. No fact says that a reload is complete:
``Wanted.settle`` finds it in the state.
"""

from __future__ import annotations

from collections.abc import Collection

from .answers import SENSELESS, Goal, Known, Reloaded, failed
from .backoff import Crashes
from .canary import Verdict, misfit, terms_of
from .messages import Level, Measure, Measured
from .orders import Reload
from .phases import RUNNING, Phase, Stage, Worker
from .snapshot import Result
from .telling import Teller
from .templates import Templates
from .wanted import Wanted, count_workers

UNMEASURED = 5.0
"""Seconds beyond a canary's limit after which it is rolled back without evidence. Usually evidence comes within
milliseconds."""
RISK = "one that crashes is replaced from the code on disk, which may fail"
NO_RISK = "one that crashes is replaced by its template, with the code that it has"
"""What a reload that failed leaves behind, as the end of the line that tells of it."""


class Rollout:
    """Carries out orders to reload, and decides on canaries."""

    def __init__(self, wanted: Wanted, crashes: Crashes, templates: Templates, teller: Teller) -> None:
        self._wanted = wanted
        self._crashes = crashes
        self._templates = templates
        self._teller = teller

    def reload(self, order: Reload, stage: Stage, now: float) -> Goal:
        """Want a new generation, unless that makes no sense; returns the goal that the order's client waits for."""
        wanted = self._wanted
        if stage not in RUNNING:
            return Known(*failed("the server stops", result=Result.ABANDONED.value))
        if order.broken:
            return self._refuse(order.broken, now, ", the configuration is broken")
        config = order.config or wanted.plan.config
        if error := misfit(config, order.canary):
            return Known(SENSELESS, {"error": error})
        # Before any worker was ready, there are no others to compare a canary with.
        terms = terms_of(config, order.canary) if stage is Stage.SERVING else None
        if terms is not None and not (config.surge and wanted.settled.config.surge):
            return self._refuse("--surge 0 leaves no room for a canary", now)
        wanted.reload(config, now if order.since is None else order.since, terms)
        # The new code deserves a fresh start, also in slots where the old code crashed again and again.
        self._crashes.forgive()
        text = f"Reload: replacing {count_workers(wanted.size)}"
        if terms is not None:
            number = terms.count(wanted.size)
            text = f"Reload: {number} {'canary' if number == 1 else 'canaries'} first, beside {count_workers(wanted.size)}"
        self._teller.reload_begins(order.saved, text)
        return Reloaded(wanted.plan.generation, now)

    def abandon(self, error: str, workers: Collection[Worker], now: float) -> None:
        """A worker of the new generation does not start, for an ``error``, while others of it serve."""
        ready = [worker for worker in workers if worker.standing is Phase.READY]
        newer = sum(worker.plan is self._wanted.plan for worker in ready)
        self._wanted.abandon(error, now)
        mixed = f", {newer} of {len(ready)} with the new code" if newer else ""
        self._teller.say(f"Reload abandoned: the workers that run go on serving{mixed}; {self._risk()}", level=Level.ERROR)

    def watch_canary(self, workers: Collection[Worker], now: float) -> Measure | None:
        """Watch the canary from when all of its workers are ready; returns a request for evidence, from time to time."""
        canary = self._wanted.canary
        if canary is None:
            return None
        if canary.since is None:
            mine = self._wanted.layers(workers)[-1]
            if {worker.slot for worker in mine.workers if worker.phase is Phase.READY}.issuperset(range(mine.size)):
                canary.begin(now)
                self._teller.say(f"Canary serves, for {canary.terms.seconds:g} s before the others follow")
                return Measure(canary.generation, canary.terms.max_latency, fresh=True)
        elif canary.look(now):
            if not canary.is_expired(now, late=UNMEASURED):
                return Measure(canary.generation, canary.terms.max_latency)
            self.roll_back("what it answered could not be measured", Result.ROLLED_BACK, now)
        return None

    def weigh(self, fact: Measured, now: float) -> None:
        """Decide on the canary by new evidence."""
        canary = self._wanted.canary
        if canary is None or canary.since is None or canary.generation != fact.generation:
            return
        verdict, why = canary.decide(fact.evidence, now)
        if verdict is Verdict.WORSE:
            self.roll_back(f"{why} ({fact.evidence})", Result.ROLLED_BACK, now)
        elif verdict is Verdict.FINE:
            replacing = f"replacing {count_workers(self._wanted.size)}"
            self._teller.say(f"Canary is as good as the others ({fact.evidence}): {replacing}")
            self._wanted.promote()

    def roll_back(self, why: str, result: Result, now: float) -> None:
        """Give the canary up. Its workers are drained by the next decision, which follows at once."""
        self._wanted.roll_back(why, result, now)
        if result is Result.ROLLED_BACK:
            text = f"Canary rolled back: {why}; the old workers go on serving"
        else:
            text = "Reload abandoned, the canary does not start: the workers that run go on serving"
        self._teller.say(f"{text}; {self._risk()}", level=Level.ERROR)

    def _risk(self) -> str:
        template = self._templates.ready(self._wanted.settled)
        return NO_RISK if template is not None and template.has_app else RISK

    def _refuse(self, error: str, now: float, what: str = "") -> Goal:
        self._teller.say(f"Reload abandoned{what}: {error}", level=Level.ERROR)
        generation = self._wanted.refuse(error, now)
        return Known(*failed(error, result=Result.ABANDONED.value, generation=generation, seconds=0.0))
