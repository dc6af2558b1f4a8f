"""Thousands of random lives of a fleet, on a virtual clock, with a host that lies, dies and sleeps.

Each life is drawn from its seed: processes fail to start, start slowly, crash, hang and come back, ignore what they are told;
facts come doubled and late; any signal comes at any moment, and so does any order of the control socket; the machine is
suspended. After every step the invariants of ``_check`` must hold, and every order with a ticket is answered once, truly. Then
the faults cease: the fleet must become whole. At last a TERM, which must end in Finish.

A failing life prints its story and how to replay it: ``TRICORN_SEED=123 pytest tests/simulation/test_fleet_simulation.py``.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from tricorn.config.frozen import replace
from tricorn.config.options import Config
from tricorn.ipc.waits import Waits
from tricorn.supervisor import messages as m
from tricorn.supervisor.canary import Evidence, Group, Wish, misfit
from tricorn.supervisor.fleet import Fleet
from tricorn.supervisor.orders import Order, Reload, Reopen, Resize, Restart, SetLogLevel, Stop, StopNow
from tricorn.supervisor.phases import ASKING, RUNNING, Phase, Stage
from tricorn.supervisor.snapshot import Result, Snapshot

LIVES, BLOCKS = 10_000, 20
CHOSEN = os.environ.get("TRICORN_SEED")
"""Read at import: a fixture takes away what is called TRICORN_ in the environment."""
NEVER = math.inf
CALM = 400.0
"""Virtual seconds within which a fleet without faults must be whole: more than all deadlines together."""


@dataclass(eq=False, slots=True)
class Process:
    """A simulated worker: what it really does, whatever the fleet believes."""

    id: int
    slot: int
    alive: bool = True
    reported: bool = False
    """Whether the fleet was told that it exited."""
    ready: bool = False
    """Whether the fleet was told that it is ready."""
    leaving: bool = False
    """Whether it was told to drain, quit or die."""
    examined: bool = False
    """Whether a hang report was ordered, and no beat came since."""
    born: float = 0.0
    told: bool = False
    """Whether it said what it waits for, or was told twice to drain."""
    is_there: bool = True
    """Whether it was forked, as far as the fleet was told."""
    given_up: bool = False
    """Whether nobody waits any more for what a template was asked for."""
    hung_until: float = 0.0
    beat: float = 0.0
    next_beat: float = NEVER


@dataclass(eq=False, slots=True)
class SimulatedTemplate:
    """A simulated template, whatever the fleet believes."""

    id: int
    generation: int
    alive: bool = True
    ready: bool = False
    """Whether the fleet was told that it is ready."""
    works: bool = True
    """Whether it forks when it is asked; a hung one does not."""
    owes: list[Process] = field(default_factory=list)
    """The workers that it was asked for, and has not forked."""
    ended: bool = False
    """Whether the fleet has ended it, or was told that it is lost or gone."""


@dataclass(slots=True)
class World:
    """The host of one life."""

    random: Random
    now: float = 1000.0
    processes: dict[int, Process] = field(default_factory=dict)
    heap: list[tuple[float, int, str, Any, Any]] = field(default_factory=list)
    scheduled: int = 0
    is_calm: bool = False
    ordered: list[tuple[float, Stop | StopNow]] = field(default_factory=list)
    """Orders to stop that were given, and when."""
    tickets: dict[int, tuple[float, Order]] = field(default_factory=dict)
    """Orders that wait for their answers, and when the fleet was told them."""
    given: int = 0
    """How many tickets were given."""
    finished: int | None = None
    story: list[tuple[float, object]] = field(default_factory=list)
    quality: dict[int, str] = field(default_factory=dict)
    """How the generations of canaries do."""
    measured_since: dict[int, float] = field(default_factory=dict)
    templates: dict[int, SimulatedTemplate] = field(default_factory=dict)
    luckless: bool = False
    """Whether no template ever becomes ready, also when all else is calm."""

    def later(self, seconds: float, kind: str, subject: Any, detail: Any = None) -> None:
        self.scheduled += 1
        heapq.heappush(self.heap, (self.now + seconds, self.scheduled, kind, subject, detail))

    def chance(self, probability: float) -> bool:
        return not self.is_calm and self.random.random() < probability

    # ------------------------------------------------------------------------------------------- what processes really do

    def start_template(self, action: m.StartTemplate) -> None:
        template = self.templates[action.template] = SimulatedTemplate(action.template, action.generation)
        roll = 1.0 if self.is_calm else self.random.random()
        delay = self.random.choice((0.0, 0.1, 1.0, self.random.uniform(0, 90)))
        if self.luckless or roll < 0.1:
            if self.random.random() < 0.5:
                self.later(delay, "template", template, "gone")
        elif roll < 0.25:
            self.later(delay, "template", template, "learned")
        else:
            self.later(0.05 if self.is_calm else delay, "template", template, "ready")

    def template_happens(self, template: SimulatedTemplate, what: str, facts: list[m.Fact]) -> None:
        if not template.alive:
            return
        if what == "ready":
            template.ready = True
            facts.append(m.TemplateReady(template.id, self.random.random() < 0.5))
            for fault, probability in (("hung", 0.2), ("gone", 0.2), ("violated", 0.1)):
                if self.chance(probability):
                    self.later(self.random.expovariate(0.1), "template", template, fault)
        elif what == "hung":
            template.works = False
        elif what in ("violated", "outdated"):
            template.ended = True
            self.forks_no_more(template, facts)
            facts.append(m.TemplateLost(template.id, "wrote rubbish", what == "outdated"))
        else:
            template.alive, template.ended = False, True
            self.forks_no_more(template, facts)
            facts.append(m.TemplateGone(template.id, "exit code 0", what == "learned"))

    def forks_no_more(self, template: SimulatedTemplate, facts: list[m.Fact]) -> None:
        """What it was asked for last, it may have done: the host finds a child that the template has named."""
        for process in template.owes:
            if process.alive and not process.given_up:
                if self.chance(0.3):
                    self.forked(process, facts)
                else:
                    process.alive, process.reported = False, True
                    facts.append(m.NotForked(process.id))
        template.owes.clear()

    def ask(self, template: SimulatedTemplate, process: Process) -> None:
        """The template is asked to fork: at once, slowly, or never."""
        process.is_there = False
        template.owes.append(process)
        if self.chance(0.03):
            self.later(0.01, "template", template, "outdated")
        elif self.chance(0.05):
            self.later(self.random.uniform(0, 0.5), "template", template, self.random.choice(("gone", "violated", "hung")))
        slow = self.random.choice((0.1, ASKING * 0.9, ASKING, self.random.uniform(0, 5)))
        self.later(slow if self.chance(0.1) else 0.01, "answer", template, process)

    def answered(self, template: SimulatedTemplate, process: Process, facts: list[m.Fact]) -> None:
        if not template.alive or process not in template.owes:
            return
        if not template.works:
            # A template that is stopped goes on when it is continued.
            if self.chance(0.2):
                self.later(self.random.uniform(0, 5), "answer", template, process)
                template.works = self.random.random() < 0.5
            return
        template.owes.remove(process)
        if not process.given_up:
            self.forked(process, facts)

    def forked(self, process: Process, facts: list[m.Fact]) -> None:
        process.is_there, process.born = True, self.now
        facts.append(m.Forked(process.id))
        self.begin(process)

    def spawn(self, action: m.Spawn) -> None:
        process = self.processes[action.worker] = Process(action.worker, action.slot, born=self.now)
        if action.template is not None:
            if self.chance(0.02):
                self.later(0.0, "exit", process, "could not be forked: too many open files")
            self.ask(self.templates[action.template], process)
        elif action.config.reload and self.chance(0.2):
            # That of --reload, which the fleet does not know.
            template = SimulatedTemplate(0, action.generation, ready=True, works=self.random.random() < 0.8)
            self.later(0.0, "fact", process, m.Asked(process.id))
            self.ask(template, process)
        else:
            self.begin(process)

    def begin(self, process: Process) -> None:
        """A worker was forked: draw its fate."""
        roll = 1.0 if self.is_calm else self.random.random()
        delay = self.random.choice((0.02, 0.1, 1.0, self.random.uniform(0, 90)))
        if roll < 0.1:
            self.later(delay, "fact", process, m.Failed(process.id, self.random.choice(("no such module", "syntax error"))))
            if self.random.random() < 0.9:
                self.later(delay + self.random.choice((0.0, 0.01, 5.0)), "exit", process, "exit code 3")
        elif roll < 0.2:
            self.later(0.0 if roll < 0.12 else delay, "exit", process, "exit code 1")
        elif roll < 0.25:
            pass  # Never becomes ready.
        else:
            self.later(0.05 if self.is_calm else delay, "ready", process)

    def became_ready(self, process: Process) -> None:
        process.next_beat = self.now + 0.01
        self.tell(process, m.Ready(process.id))
        if self.chance(0.3):
            self.later(self.random.expovariate(0.1), "exit", process, self.random.choice(("exit code 0", "killed by SIGSEGV")))
        if self.chance(0.2):
            self.later(self.random.expovariate(0.1), "hang", process, self.random.choice((0.5, 3.0, NEVER)))
        if self.chance(0.2):
            self.later(self.random.expovariate(0.1), "fact", process, m.Recycle(process.id, "old"))
        if self.chance(0.1):
            self.later(self.random.expovariate(0.1), "fact", process, m.Recycle(process.id, "fat"))

    def tell(self, process: Process, fact: m.Fact) -> None:
        self.later(0.0, "fact", process, fact)
        if self.chance(0.05):
            self.later(self.random.expovariate(0.2), "late", process, fact)

    def perform(self, action: m.Action) -> None:
        match action:
            case m.Spawn():
                self.spawn(action)
            case m.GiveUp(worker):
                process = self.processes[worker]
                process.given_up, process.alive, process.reported = True, False, True
            case m.Drain(worker) | m.DrainBySignal(worker) | m.Quit(worker):
                process = self.processes[worker]
                process.leaving = True
                if self.chance(0.5):
                    self.later(self.random.uniform(0, 1), "fact", process, m.Waiting(worker, Waits(0, "", 0.0, 1)))
                if not self.chance(0.1) and process.hung_until <= self.now:
                    self.later(self.random.choice((0.01, 0.5, self.random.uniform(0, 40))), "exit", process, "exit code 0")
            case m.CallOff(worker):
                process = self.processes[worker]
                process.leaving = True
                if self.chance(0.2):
                    # It had become ready, and has connections.
                    self.later(0.0, "late", process, m.Ready(worker))
                    self.later(self.random.uniform(0, 40), "exit", process, "exit code 0")
                elif not self.chance(0.1):
                    self.later(0.01, "exit", process, "exit code 0")
            case m.Kill(worker):
                self.processes[worker].leaving = True
                if not self.chance(0.02):
                    self.later(0.001, "exit", self.processes[worker], "killed by SIGKILL")
            case m.StartTemplate():
                self.start_template(action)
            case m.EndTemplate(template):
                self.templates[template].ended = True
                if not self.chance(0.02):
                    self.later(0.001, "template", self.templates[template], "killed")
            case m.ReportHang(worker):
                self.processes[worker].examined = True
            case m.Measure():
                self.measure(action)
            case m.Finish(code):
                self.finished = code

    def measure(self, action: m.Measure) -> None:
        """What canaries and others have answered: of a good generation 0.1 % fail, of a broken one 30 %."""
        quality = self.quality.setdefault(action.generation, self.random.choice(QUALITIES))
        if action.fresh:
            self.measured_since[action.generation] = self.now
        seconds = self.now - self.measured_since[action.generation]
        canary = self.group(seconds * 40 if quality != "silent" else 0, 0.3 if quality == "broken" else 0.001)
        others = self.group(seconds * 100, 0.001)
        slow = canary.requests * (0.5 if quality == "slow" else 0.01)
        fact = m.Measured(action.generation, Evidence(canary, others, slow))
        if not self.chance(0.05):
            self.later(
                0.0 if self.random.random() < 0.9 or self.is_calm else self.random.expovariate(0.5), "measured", None, fact
            )
        if self.chance(0.05):
            self.later(self.random.expovariate(0.2), "measured", None, fact)

    def group(self, requests: float, share: float) -> Group:
        deviation = math.sqrt(requests * share * (1 - share))
        return Group(
            requests, min(requests, max(0.0, self.random.gauss(requests * share, deviation))), 0.01 if requests else None
        )

    # ------------------------------------------------------------------------------------------------------ what happens

    def facts(self) -> list[m.Fact]:
        """All that happened until now, as the fleet is told it."""
        facts: list[m.Fact] = []
        while self.heap and self.heap[0][0] <= self.now:
            _, _, kind, process, detail = heapq.heappop(self.heap)
            if kind == "order":
                facts.append(detail)
                if isinstance(detail, Stop | StopNow):
                    self.ordered.append((self.now, detail))
                if detail.ticket is not None:
                    self.tickets[detail.ticket] = self.now, detail
            elif kind == "measured":
                facts.append(detail)
            elif kind == "template":
                self.template_happens(process, detail, facts)
            elif kind == "answer":
                self.answered(process, detail, facts)
            elif kind == "late" or (kind == "fact" and process.alive):
                facts.append(detail)
                if isinstance(detail, m.Ready | m.Beat) and process.alive and not process.leaving:
                    process.ready, process.examined = True, False
                process.told = process.told or isinstance(detail, m.Waiting)
            elif process.alive:
                self._happen(kind, process, detail, facts)
        for process in self.processes.values():
            if process.alive and process.next_beat <= self.now and process.hung_until <= self.now:
                process.beat = process.next_beat + math.floor(self.now - process.next_beat)
                process.next_beat = process.beat + 1.0
                process.examined = False
                facts.append(m.Beat(process.id, process.beat))
        return facts

    def _happen(self, kind: str, process: Process, detail: Any, facts: list[m.Fact]) -> None:
        if kind == "ready" and not process.leaving:
            self.became_ready(process)
        elif kind == "hang" and not self.is_calm:
            process.hung_until = self.now + detail
        elif kind == "exit" and (process.leaving or not process.ready or not self.is_calm):
            process.alive = False
            process.reported = True
            facts.append(m.Exited(process.id, detail))

    def give_ticket(self, order: Order) -> Order:
        """The order as the control socket gives it."""
        self.given += 1
        return replace(order, ticket=self.given)

    def suspend(self, seconds: float, overslept: float) -> None:
        """Nobody runs for that long; upon waking overdue timers fire, soon or, after a long time in swap, not so soon.

        ``overslept`` is by how much the fleet will notice: seconds since its deadline.
        """
        for process in self.processes.values():
            if process.alive and process.next_beat <= self.now and process.hung_until <= self.now:
                # A beat from before that the fleet reads only after.
                self.later(0.0, "fact", process, m.Beat(process.id, max(process.next_beat, process.hung_until)))
        self.story.append((self.now, f"suspended for {seconds:.1f} s"))
        self.heap = [(at + seconds, *rest) for at, *rest in self.heap]  # type: ignore[misc]
        self.now += seconds
        for process in self.processes.values():
            if process.next_beat < NEVER:
                slowness = 1.8 if overslept > 1.0 else 0.3
                process.next_beat = max(process.next_beat, self.now + self.random.uniform(0, slowness))
            process.hung_until += seconds if process.hung_until > self.now - seconds else 0


QUALITIES = ("good", "broken", "slow", "silent")
"""How a canary's generation does."""
CANARY = Reload(canary=Wish("1", seconds=4, timeout=8))
ORDERS: tuple[Order, ...] = (
    CANARY,
    replace(CANARY, canary=Wish("50%", seconds=2, timeout=4)),
    Reload(),
    Reload(),
    Reload(),
    Resize(+1),
    Resize(-1),
    Reopen(),
    Restart(0),
    Restart(2),
    Resize(0, to=3),
    SetLogLevel("debug"),
)
STOPS: tuple[Stop | StopNow, ...] = (
    Stop(),
    Stop(delayed=False),
    Stop(delayed=False, typed=True),
    StopNow(),
)
SHOULD_WAIT = {True: 0.5, False: 2.0}
"""Seconds from the first order to stop until another one is a wish of its own, if it is typed and if it is not."""


def _but_for_templates(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, templates=())


class Life:
    """One fleet from its first worker to its end."""

    def __init__(self, seed: int) -> None:
        random = self.random = Random(seed)
        self.config = Config(
            app="simulated:app",
            workers=random.randint(1, 5),
            reload=random.random() < 0.2,
            preload=random.choice(("off", "off", "packages", "app")),
            surge=random.choice((0, 1, 1, 1, 2, 3)),
            timeout_worker_startup=random.choice((0.5, 5, 60)),
            timeout_worker_healthcheck=random.choice((2, 5, 30)),
            timeout_graceful_shutdown=random.choice((0, 3, 30)),
            limit_crashes=random.choice((None, None, 0, 3, 10)),
            shutdown_delay=random.choice((0, 0, 4)),
        )
        self.world = World(random, luckless=random.random() < 0.1)
        self.fleet = Fleet(self.config, random.random)
        self.was_ready = False

    def live(self) -> None:
        world, random = self.world, self.random
        for _ in range(random.randint(0, 6)):
            world.later(random.uniform(0, 60), "order", None, self._order())
        if random.random() < 0.3:
            first = random.uniform(0, 60)
            for _ in range(random.randint(1, 3)):
                world.later(first, "order", None, self._perhaps_with_ticket(random.choice(STOPS)))
                first += random.choice((0.0, 0.4, 1.0, 3.0, random.uniform(0, 60)))
        self._step()
        end = world.now + random.uniform(1, 60)
        while world.now < end and world.finished is None:
            self._step()
        world.is_calm = True
        self._until(lambda: world.finished is not None or self._is_whole(), "the fleet never became whole")
        if world.finished is None and random.random() < 0.2:
            self._try_canary(random.choice(QUALITIES))
        if world.finished is None:
            assert not world.tickets, "an order of a fleet that is whole is still unanswered"
            world.later(random.uniform(0, 2), "order", None, Stop())
            world.later(random.uniform(0, 2), "order", None, world.give_ticket(self._order()))
            self._until(lambda: world.finished is not None, "TERM did not end in Finish")
        self._check_end()

    def _try_canary(self, quality: str) -> None:
        """Without other faults a good canary is promoted, and any other rolled back, in time."""
        world, wanted = self.world, self.fleet.wanted
        if misfit(wanted.plan.config, CANARY.canary):
            # It would be refused, and nothing would happen.
            return
        # No other order comes meanwhile, but for those that were given and not answered yet.
        world.heap = [event for event in world.heap if event[2] != "order"]
        heapq.heapify(world.heap)
        before, last, began = wanted.settled, wanted.last_reload, world.now
        world.later(0.0, "order", None, world.give_ticket(CANARY))
        while wanted.last_reload is last or wanted.last_reload is None:
            self._step()
        generation = wanted.last_reload.generation
        if wanted.canary is not None:
            world.quality[generation] = quality
        self._until(lambda: world.finished is not None or self._is_whole(), "a canary was never decided")
        if world.finished is not None:
            # A worker that has hung since before was found, and was one crash too many.
            return
        result = wanted.last_reload.result
        if wanted.settled.config.reload or (wanted.settled.config.surge and quality == "good"):
            assert result is Result.COMPLETE, f"{quality}: {result}"
            assert wanted.settled.generation == generation
        elif not wanted.settled.config.surge:
            assert (result, wanted.settled) == (Result.ABANDONED, before)
        else:
            assert (result, wanted.settled) == (Result.ROLLED_BACK, before), f"{quality}: {result}"
            assert wanted.last_reload.ended is not None
            waits = wanted.settled.config.timeout_worker_startup if world.luckless else 0
            assert wanted.last_reload.ended - began < 8 + 10 + waits
        self._until(lambda: not world.tickets, "the canary's order was never answered")

    def _perhaps_with_ticket(self, order: Order) -> Order:
        return self.world.give_ticket(order) if self.random.random() < 0.5 else order

    def _order(self) -> Order:
        order = self._perhaps_with_ticket(self.random.choice(ORDERS))
        if isinstance(order, Reload) and self.random.random() < 0.1:
            return replace(order, broken="--workers many: must be a whole number")
        if isinstance(order, Reload) and self.random.random() < 0.2:
            # Made as a reload makes it: a new configuration, which may want another number of workers.
            workers, reload, preload = self.random.randint(1, 5), self.config.reload, self.config.preload
            config = Config(app="simulated:new", workers=workers, reload=reload, preload=preload, timeout_worker_healthcheck=5)
            return replace(order, config=config)
        return order

    def _until(self, condition: Any, otherwise: str) -> None:
        limit = self.world.now + CALM
        while not condition():
            assert self.world.now < limit, otherwise
            self._step()

    def _step(self) -> None:
        world, fleet = self.world, self.fleet
        if world.story:
            deadline = fleet.next_deadline()
            event = world.heap[0][0] if world.heap else NEVER
            if deadline is None and event == NEVER:
                raise AssertionError("nothing will ever happen again")
            due = NEVER if deadline is None else deadline + (self.random.uniform(0, 0.1) if world.chance(0.2) else 0)
            # Not all at the exact time: a wake-up finds several things that happened since the last.
            world.now = max(world.now, min(due, event + (0.02 if world.chance(0.2) else 0)))
            if world.chance(0.03):
                gap = self.random.choice((0.5, 3, 20, 3600))
                world.suspend(gap, overslept=world.now + gap - (deadline or NEVER))
        if world.chance(0.02):
            self._upgrade()
            fleet = self.fleet
        facts = world.facts()
        world.story.append((world.now, facts))
        dead = {process.id for process in world.processes.values() if process.reported}
        actions = fleet.handle(facts, world.now)
        world.story.append((world.now, actions))
        self._check_actions(actions, dead)
        for action in actions:
            world.perform(action)
        self._check()

    def _upgrade(self) -> None:
        """Let another fleet go on from the state of this one, as an upgrade does. Templates end with the old supervisor."""
        world, old = self.world, self.fleet
        if old.stage is not Stage.SERVING or old.wanted.plan is not old.wanted.settled:
            return
        for process in world.processes.values():
            if process.alive and not process.is_there:
                # The host waits for that, a second at most, before it executes the new program.
                return
        plans = {plan.generation: plan for plan in [*(one.plan for one in old.workers.values()), old.wanted.settled]}
        state = json.loads(json.dumps(old.state(world.now), allow_nan=False))
        world.now += self.random.choice((0.0, 0.3, 5.0))
        self.fleet = Fleet(self.config, self.random.random)
        self.fleet.restore(state, plans, world.now)
        assert self.fleet.state(world.now)["answers"] == state["answers"]
        assert _but_for_templates(self.fleet.snapshot()) == _but_for_templates(old.snapshot())
        for template in world.templates.values():
            template.alive, template.ended = False, True
        world.story.append((world.now, "upgraded"))

    # -------------------------------------------------------------------------------------------------------- invariants

    def _check_actions(self, actions: list[m.Action], dead: set[int]) -> None:
        world, stopping = self.world, bool(self.world.ordered)
        newest = max(world.processes, default=0)
        for action in actions:
            if isinstance(action, m.Spawn):
                assert action.worker > newest, "a worker's id was used again"
                assert not stopping, "a worker was forked after an order to stop"
                assert action.slot < self.fleet.wanted.size, "a worker was forked for a slot that is not wanted"
                self._check_source(action)
                newest = action.worker
            elif isinstance(action, m.Drain | m.DrainBySignal | m.CallOff | m.Quit | m.Kill | m.ReportHang | m.Unready):
                assert action.worker in world.processes, "an action for a worker that never was"
                assert action.worker not in dead, "an action for a worker known to be dead"
                assert world.processes[action.worker].is_there, "an action for a worker that is not forked yet"
                if isinstance(action, m.DrainBySignal | m.Quit | m.Kill):
                    world.processes[action.worker].told = True
            if isinstance(action, m.Kill):
                self._check_kill(world.processes[action.worker])
            if isinstance(action, m.Answer):
                self._check_answer(action)
            if isinstance(action, m.ReopenLogs) and action.ticket is not None:
                # The host answers it.
                world.tickets.pop(action.ticket)

    def _check_source(self, spawn: m.Spawn) -> None:
        """A worker is forked only by a template of its own generation, which is ready and was not ended."""
        if spawn.template is None:
            return
        template = self.world.templates[spawn.template]
        assert template.generation == spawn.generation, "a worker was forked by the template of another generation"
        assert template.ready, "a worker was forked by a template that is not ready"
        assert not template.ended, "a worker was forked by a template that is over"

    def _check_templates(self) -> None:
        world, fleet = self.world, self.fleet
        living = [one for one in world.templates.values() if not one.ended]
        assert not living or fleet.stage in RUNNING, "a template is left after an order to stop"
        wanted = [fleet.wanted.plan.generation, fleet.wanted.settled.generation]
        generations = [one.generation for one in living]
        assert set(generations) <= set(wanted), "a template of a generation that is over is left"
        assert len(generations) == len(set(generations)), "a generation has two templates"
        lost = any(one.ended and one.generation == wanted[0] for one in world.templates.values())
        learned = any(one.generation == wanted[0] and not one.ended for one in world.templates.values())
        assert not lost or learned or not fleet.templates.is_awaited(fleet.wanted.plan), "workers wait for no template"

    def _check_answer(self, answer: m.Answer) -> None:
        world, wanted = self.world, self.fleet.wanted
        assert answer.ticket in world.tickets, "an order was answered that nobody gave, or twice"
        asked, order = world.tickets.pop(answer.ticket)
        assert answer.code in (0, 2, 3)
        assert bool(answer.details.get("error")) == (answer.code != 0), "a failure without an error, or an error without one"
        serving = [p for p in world.processes.values() if p.alive and p.ready and not p.leaving]
        if answer.code == 0 and isinstance(order, Reload):
            old = [p for p in world.processes.values() if p.alive and p.ready and p.born < asked and not p.told]
            assert not old or not self._may_serve(), f"old code may answer after a reload: {old}"
        elif isinstance(order, Reload) and "generation" in answer.details:
            assert wanted.settled.generation < answer.details["generation"], "a reload that is complete was called a failure"
        elif answer.code == 0 and isinstance(order, Resize):
            assert {p.slot for p in serving} >= set(range(answer.details["wanted"])), "not all are ready"
        elif answer.code == 0 and isinstance(order, Restart):
            assert any(p.slot == order.slot for p in serving), "nobody took the place"
        elif isinstance(order, Stop | StopNow):
            assert self.fleet.stage is Stage.FINISHED, "a stop was answered before its end"

    def _may_serve(self) -> bool:
        return self.fleet.stage in RUNNING

    def _check_kill(self, process: Process) -> None:
        healthy = process.ready and not process.leaving and process.hung_until <= self.world.now and not process.examined
        assert not healthy or self._may_stop_at_once(), "a healthy worker was killed"

    def _may_stop_at_once(self) -> bool:
        stops = [(at, order) for at, order in self.world.ordered if isinstance(order, Stop)]
        repeated = any(at - stops[0][0] > SHOULD_WAIT[order.typed] for at, order in stops)
        return repeated or len(stops) < len(self.world.ordered)

    def _check(self) -> None:
        world, fleet = self.world, self.fleet
        occupying = [p for p in world.processes.values() if not p.leaving and not p.reported]
        actions: Any = world.story[-1][1]
        for layer in fleet.wanted.layers(fleet.workers.values()):
            mine = {worker.id for worker in layer.workers if worker.phase is not Phase.FAILED}
            if any(isinstance(action, m.Spawn) and action.worker in mine for action in actions):
                extra = sum(process.id in mine for process in occupying) - layer.size
                if not layer.plan.config.surge:
                    # The machine has no room, not even for one that drains. Those that can't be killed are given up.
                    extra = len(fleet.workers) - layer.size
                assert extra <= layer.plan.config.surge, f"{extra} workers more than wanted"
        known = fleet.workers
        drained = [known[action.worker] for action in actions if isinstance(action, m.Drain) and action.patient]
        if any(not fleet.wanted.is_rejected(worker) and not fleet.wanted.is_canary(worker) for worker in drained):
            # A canary is no replacement.
            serving = {worker.id for worker in fleet.wanted.layers(known.values())[0].workers}
            ready = sum(1 for process in occupying if process.ready and not process.examined and process.id in serving)
            missing = 0 if fleet.wanted.plan.config.surge else 1
            assert ready >= fleet.wanted.size - missing, f"only {ready} ready workers left after one was told to drain"
        rejected = [w for w in known.values() if fleet.wanted.is_rejected(w) and w.phase in (Phase.STARTING, Phase.READY)]
        assert not rejected or fleet.stage not in RUNNING, "a canary that was given up still serves"
        assert world.quality.get(fleet.wanted.settled.generation, "good") == "good", "a bad canary has become the fleet"
        starting = [(w.slot, fleet.wanted.is_canary(w)) for w in fleet.workers.values() if w.phase is Phase.STARTING]
        assert len(starting) == len(set(starting)), "two workers start in one slot"
        if world.ordered and fleet.stage is not Stage.LEAVING:
            told = all(worker.phase not in (Phase.STARTING, Phase.READY) for worker in fleet.workers.values())
            assert told, "a worker was not told to stop"
        if fleet.wanted.plan.config.reload and fleet.stage in RUNNING:
            old = [
                w for w in fleet.workers.values() if w.phase is Phase.READY and w.plan.generation < fleet.wanted.plan.generation
            ]
            assert not old, "old code is served after a save"
        self._check_templates()
        known_asked = {worker.id for worker in known.values() if worker.phase is Phase.ASKED}
        asked_for = {process.id for process in world.processes.values() if process.alive and not process.is_there}
        assert known_asked <= asked_for, "a worker is waited for that nobody forks"
        deadline = fleet.next_deadline()
        assert deadline is None or deadline > world.now, "a deadline in the past: a busy loop"
        if self.random.random() < 0.1:
            again = fleet.handle([], world.now)
            assert not again, f"a second look decided {again}"
        self.was_ready = self.was_ready or any(process.ready for process in world.processes.values())

    def _is_whole(self) -> bool:
        fleet = self.fleet
        workers = fleet.workers.values()
        return (
            fleet.stage in RUNNING
            and fleet.wanted.plan is fleet.wanted.settled
            and sorted(worker.slot for worker in workers) == list(range(fleet.wanted.size))
            and all(worker.phase is Phase.READY and not worker.recycling for worker in workers)
            and all(worker.plan.generation >= fleet.wanted.plan.generation for worker in workers)
            and self._has_template()
        )

    def _has_template(self) -> bool:
        """Whether there is a template, if there can be one."""
        plan, is_wanted = self.fleet.wanted.plan, self.config.preload != "off" and not self.config.reload
        return not is_wanted or self.world.luckless or self.fleet.templates.ready(plan) is not None or self._is_given_up()

    def _is_given_up(self) -> bool:
        return any(
            isinstance(what, list) and any(isinstance(one, m.Say) and "is given up" in one.text for one in what)
            for _, what in self.world.story[-2000:]
        )

    def _check_end(self) -> None:
        code = self.world.finished
        assert self.fleet.handle([Reload(), Resize(+1)], self.world.now) == [], "it went on after Finish"
        assert not self.world.tickets, "an order was never answered"
        assert code != 0 or self.world.ordered, "stopped unasked"
        assert code != 3 or not self.was_ready, "gave up as if nobody had ever been ready"
        assert code != 4 or self.config.limit_crashes is not None


def shorten(text: str) -> str:
    """Leave out what does not concern the fleet, and the configuration that each worker is born with."""
    text = re.sub(r", config=Config\(.*?timeout_ssl_handshake=\d+\)", "", text)
    return re.sub(r"Config\(app=.*?(workers=\d+).*?(timeout_graceful.*?)\)", r"Config(\1, \2)", text)


def tell(seed: int, life: Life, error: BaseException) -> str:
    lines = [f"{at - 1000:9.3f}  {shorten(str(what))}" for at, what in life.world.story if what]
    replay = f"TRICORN_SEED={seed} pytest tests/simulation/test_fleet_simulation.py"
    return "\n".join(["", shorten(str(life.config)), *lines, f"{type(error).__name__}: {error}", f"Replay it: {replay}"])


def seeds(block: int) -> list[int]:
    chosen = CHOSEN
    if chosen is not None:
        return [int(chosen)] if block == 0 else []
    return list(range(block, LIVES, BLOCKS))


@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_life_breaks_a_promise(block: int) -> None:
    for seed in seeds(block):
        life = Life(seed)
        try:
            life.live()
        except Exception as error:
            pytest.fail(tell(seed, life, error), pytrace=False)
