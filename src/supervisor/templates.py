"""With ``--preload``: which templates there should be, and from which a worker is forked. Pure: time is passed in.

A *template* is a process that has imported the code of one generation and forks that generation's workers. It serves nobody.

    STARTING ---> READY
       |            |
       +---> KILLED <   (gone, or given up after a while)

Each generation that is wanted, or that a reload may go back to, should have one. When it is lost, another is made. Workers do
not depend on it: only the first template of a generation is waited for, and not for longer than a worker's start may take.
After a loss, and when templates fail again and again, workers start as they do without ``--preload``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum, auto
from itertools import count

from .backoff import Backoff
from .messages import EndTemplate, Level, Say, StartTemplate, TemplateGone, TemplateLost, TemplateReady
from .phases import UNKILLABLE, Plan

MAX_FAILED = 3
"""Templates of one generation that may fail in a row before any was ready. Each costs as much CPU time as a worker's start."""


class TemplatePhase(Enum):
    """A template's phase."""

    STARTING = auto()
    """Forked; imports code."""
    READY = auto()
    """Forks workers."""
    KILLED = auto()
    """Sent SIGKILL."""


class Template:
    """One template, as the fleet has it."""

    def __init__(self, id: int, plan: Plan, since: float, deadline: float) -> None:
        self.id = id
        self.plan = plan
        self.since = since
        """When it was forked."""
        self.deadline: float | None = deadline
        """When its phase has lasted too long; None while it is ready."""
        self.phase = TemplatePhase.STARTING
        self.has_app = False
        """Whether it has imported the application, and not only packages."""


class Attempts:
    """How the templates of one generation have done until now."""

    def __init__(self, patience_ends: float) -> None:
        self.patience_ends: float | None = patience_ends
        """Until when workers wait for the first template; None when they do not."""
        self.was_ready = False
        self.failed = 0
        """Failures in a row."""
        self.backoff = Backoff()

    @property
    def is_over(self) -> bool:
        """Whether no more are made: they can't start."""
        return not self.was_ready and self.failed >= MAX_FAILED


class Templates:
    """All templates. ``jitter`` gives numbers from 0 to 1."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self.all: dict[int, Template] = {}
        self._jitter = jitter
        self._ids = count(1)
        self._attempts: dict[int, Attempts] = {}
        """By generation."""

    # ------------------------------------------------------------------------------------------------------------ record

    def became_ready(self, fact: TemplateReady) -> None:
        """The template has imported all that it is to import."""
        template = self.all.get(fact.template)
        if template is not None and template.phase is TemplatePhase.STARTING:
            template.phase, template.deadline, template.has_app = TemplatePhase.READY, None, fact.has_app
            if (attempts := self._attempts.get(template.plan.generation)) is not None:
                attempts.was_ready, attempts.failed, attempts.patience_ends = True, 0, None

    def lose(self, fact: TemplateLost, now: float) -> list[EndTemplate | Say]:
        """The template does not do what it is for."""
        template = self.all.get(fact.template)
        if template is None or template.phase is TemplatePhase.KILLED:
            return []
        return [*self._failed(template, fact.why, now, fact.is_outdated), self._kill(template, now)]

    def remove(self, fact: TemplateGone, now: float) -> list[EndTemplate | Say]:
        """The template's process is gone."""
        template = self.all.pop(fact.template, None)
        if template is None or template.phase is TemplatePhase.KILLED:
            return []
        return self._failed(template, f"is gone ({fact.cause})", now, fact.is_excused)

    def _failed(self, template: Template, what: str, now: float, excused: bool) -> list[EndTemplate | Say]:
        attempts = self._attempts.get(template.plan.generation)
        if excused or attempts is None:
            return []
        attempts.failed += 1
        attempts.patience_ends = None
        wait = attempts.backoff.failed(now, self._jitter)
        text = f"The template of generation {template.plan.generation} {what}"
        if attempts.is_over:
            return [Say(Level.WARNING, f"{text}; --preload is given up: the workers of this generation import all themselves")]
        when = f"in {wait:.1f} s" if wait > 0 else "at once"
        return [Say(Level.WARNING, f"{text}; to be made anew {when}; until then workers import all themselves")]

    # ------------------------------------------------------------------------------------------------------------ decide

    def expire(self, now: float) -> list[EndTemplate | Say]:
        """Kill those that start for too long; give those up that can't be killed."""
        actions: list[EndTemplate | Say] = []
        for attempts in self._attempts.values():
            if attempts.patience_ends is not None and attempts.patience_ends <= now:
                attempts.patience_ends = None
        for template in [one for one in self.all.values() if one.deadline is not None and one.deadline <= now]:
            if template.phase is TemplatePhase.KILLED:
                del self.all[template.id]
                continue
            seconds = template.plan.config.timeout_worker_startup
            what = f"was not ready within --timeout-worker-startup {seconds:g} s; killed"
            actions += [*self._failed(template, what, now, excused=False), self._kill(template, now)]
        return actions

    def begin(self, plan: Plan, now: float) -> list[StartTemplate]:
        """Start the template of ``plan``, if it asks for one and there is none."""
        if not is_preloading(plan):
            return []
        deadline = now + plan.config.timeout_worker_startup
        attempts = self._attempts.setdefault(plan.generation, Attempts(deadline))
        if self._has_one(plan) or attempts.is_over or attempts.backoff.until > now:
            return []
        template = Template(next(self._ids), plan, now, deadline)
        self.all[template.id] = template
        return [StartTemplate(template.id, plan.generation, plan.config)]

    def end(self, plans: Collection[Plan], now: float) -> list[EndTemplate]:
        """End those that are of none of ``plans``."""
        wanted = {plan.generation for plan in plans}
        for generation in self._attempts.keys() - wanted:
            del self._attempts[generation]
        return [
            self._kill(template, now)
            for template in list(self.all.values())
            if template.plan.generation not in wanted and template.phase is not TemplatePhase.KILLED
        ]

    def ready(self, plan: Plan) -> Template | None:
        """The template that workers of ``plan`` are forked from; None if they import all themselves, or have to wait."""
        its = [one for one in self.all.values() if one.plan.generation == plan.generation]
        return next((one for one in its if one.phase is TemplatePhase.READY), None)

    def is_awaited(self, plan: Plan) -> bool:
        """Whether workers of ``plan`` are not forked yet, because their first template is about to be ready."""
        attempts = self._attempts.get(plan.generation)
        return attempts is not None and attempts.patience_ends is not None

    def deadlines(self, plan: Plan) -> list[float]:
        """When a decision is due; ``plan`` is the one that is wanted."""
        times = [template.deadline for template in self.all.values() if template.deadline is not None]
        times += [one.patience_ends for one in self._attempts.values() if one.patience_ends is not None]
        attempts = self._attempts.get(plan.generation)
        if attempts is not None and not attempts.is_over and not self._has_one(plan):
            times.append(attempts.backoff.until)
        return times

    def forgive_suspension(self, seconds: float) -> None:
        """The machine was suspended for so long: no template is to blame."""
        for template in self.all.values():
            if template.deadline is not None:
                template.deadline += seconds
        for attempts in self._attempts.values():
            if attempts.patience_ends is not None:
                attempts.patience_ends += seconds

    def _has_one(self, plan: Plan) -> bool:
        its = [one for one in self.all.values() if one.plan.generation == plan.generation]
        return any(one.phase is not TemplatePhase.KILLED for one in its)

    def _kill(self, template: Template, now: float) -> EndTemplate:
        template.phase, template.deadline = TemplatePhase.KILLED, now + UNKILLABLE
        return EndTemplate(template.id)


def is_preloading(plan: Plan) -> bool:
    """Whether workers of ``plan`` are forked from a template of their generation. With ``--reload`` see --reload-warm."""
    return plan.config.preload != "off" and not plan.config.reload
