"""Which workers should live, and what to do about it: the supervisor's decisions, without a pid, a socket or a clock.

The theory, in the manner of h11's ``_state.py``: the fleet is told facts and answers with actions.

    actions = fleet.handle(facts, now)

It first *records* every fact, then derives actions from its state alone, never from the fact just seen (level-triggered, as
Kubernetes' controllers are). It looks for workers past a deadline (*expire*), for workers that do not answer an order
(*urge*), for workers with a ready successor (*retire*), for missing workers (*fill*), for a reload that is complete
(*settle*), and for the end (*finish*). So a lost, late or doubled fact can delay a decision but never corrupt one.

Every worker is in one phase, and every phase leads on by itself or by its deadline:

    ASKED ---> (not forked)
       |
       v
    STARTING ---> READY ---> DRAINING ---> (gone)
       |  \\         |             |
       |   FAILED   +--> HUNG <---+        HUNG: it writes down its stacks; a beat brings it back to READY
       |     |             |
       +-----+----------> KILLED ---> (gone, or given up after a while)

A worker is ASKED for while a template forks it; one that the host forks is STARTING at once. A worker that is no longer needed
while it is STARTING is CALLED_OFF. Then it is gone, or DRAINING if it had just begun to
serve, or KILLED in the end. ``ON_FACT`` and ``ON_DEADLINE`` at the end of this file are the arrows of facts and deadlines. The
other arrows are decisions: to DRAINING, to CALLED_OFF and, when everything must end at once, to KILLED.

What is wanted is a *size* and a *plan* (see ``wanted.py``). A worker is obsolete when it is of an older
generation than the plan's or is being recycled. Two rules replace workers, whatever the reason (see ``planning.py``):

- a slot in which all workers are obsolete gets a successor, if no more than ``surge`` workers are extra at a time;
- a worker that is not needed (its slot has a newer ready worker, or lies beyond the size) drains when the wanted number of
  workers is ready without it.

With ``--surge 0`` the machine can't hold one more worker. Then one obsolete worker at a time drains first, and its slot gets a
successor when it is gone.

In development (``--reload``) the old code must not answer any more, so a third rule goes before the second: a ready worker
of an older generation drains at once, and its successor gets the connections on which no request has come yet.

This file is long because it is the cells of one table of transitions, over one state. What has a state or a theory of its own
stands beside it: ``wanted.py`` (size and plan), ``rollout.py`` (a reload's way), ``templates.py`` (what forks workers),
``planning.py``, ``answers.py`` (who waits for what), ``backoff.py``, ``wishes.py``; and what is logged, in ``telling.py`` and
``waiting.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any

from ..config.options import Config
from ..errors import EXIT_CRASHES, EXIT_STARTUP
from ..ipc.waits import PATIENCE
from .answers import DONE, SENSELESS, Answers, Goal, Known, Resized, Restarted, Stopped, View, failed
from .backoff import Crashes
from .messages import (
    Action,
    Asked,
    Beat,
    CallOff,
    CloseListeners,
    Deaf,
    Delivering,
    Drain,
    DrainBySignal,
    Exited,
    Fact,
    Failed,
    Finish,
    Forked,
    GiveUp,
    Kill,
    Level,
    Measured,
    NotForked,
    Quit,
    Ready,
    Recycle,
    ReopenLogs,
    ReportHang,
    SetLevel,
    Spawn,
    TemplateGone,
    TemplateLost,
    TemplateReady,
    Unready,
    Violated,
    Waiting,
    WorkerFact,
)
from .orders import MAX_SIZE, Order, Reload, Reopen, Resize, Restart, SetLogLevel, Stop, StopNow, Upgrade
from .phases import (
    ASKING,
    CALLING_OFF,
    COMING,
    DELIVERING,
    HANG_REPORT,
    LEAVING_FAILED,
    QUITTING,
    RUNNING,
    UNKILLABLE,
    ExitReason,
    Phase,
    Plan,
    Stage,
    Worker,
)
from .planning import displaced, surplus, vacancies
from .rollout import Rollout
from .snapshot import Result, Snapshot, TemplateSnapshot, WorkerSnapshot
from .tally import Tally, reason_to_leave
from .telling import Teller
from .templates import Templates
from .waiting import describe_workers
from .wanted import Layer, Wanted, count_workers
from .wishes import StopWishes

OVERSLEPT = 1.0
"""Seconds by which a deadline may be missed. After more, the fleet concludes that it was suspended."""
WAKING_UP = 2.0
"""Seconds that every worker gets after a suspension, to turn its event loop again."""


class Fleet:
    """All workers, with the size and the plan wanted.

    ``jitter`` gives random numbers from 0 to 1; tests give their own.
    """

    def __init__(self, config: Config, jitter: Callable[[], float]) -> None:
        self.wanted = Wanted(config)
        self.workers: dict[int, Worker] = {}
        self.stage = Stage.BOOTING
        self._code = 0
        self._wishes = StopWishes()
        self._ids = count(1)
        self._crashes = Crashes(jitter)
        self.templates = Templates(jitter)
        self._answers = Answers()
        self._tally = Tally()
        self._teller = Teller(self._act)
        self._say = self._teller.say
        self._rollout = Rollout(self.wanted, self._crashes, self.templates, self._teller)
        self._leave_at: float | None = None
        """When the shutdown delay ends."""
        self._tell_at: float | None = None
        """When to say what a stop waits for."""
        self._is_typed = False
        """Whether somebody typed the order to stop."""
        self._retry_at: float | None = None
        """When the backoff of the next slot ends."""
        self._announced: float | None = None
        """The deadline that :meth:`next_deadline` gave after the last decision."""
        self._actions: list[Action] = []

    def handle(self, facts: Iterable[Fact], now: float) -> list[Action]:
        """Record ``facts``, then decide; returns what is to be done, in order. ``now`` is in seconds and never goes back."""
        self._actions = []
        if self.stage is Stage.FINISHED:
            self._hurry(facts, now)
            self._answer(now)
            return self._actions
        self._forgive_suspension(now)
        # All beats are recorded before any deadline is checked: after a suspension they arrive late, together.
        for fact in sorted(facts, key=self._rank):
            self._record(fact, now)
        self._expire(now)
        self._urge(now)
        if self.stage in RUNNING and (measure := self._rollout.watch_canary(self.workers.values(), now)) is not None:
            self._actions.append(measure)
        if self.stage in RUNNING:
            self._actions += self.templates.begin(self.wanted.plan, now)
        self._retire(now)
        self._fill(now)
        self.wanted.settle(self.workers.values(), now)
        self._tell_reloaded(now)
        self._tell_waiting(now)
        self._finish()
        self._actions += self.templates.end(self._plans(), now)
        self._answer(now)
        self._announced = self.next_deadline()
        return self._actions

    def next_deadline(self) -> float | None:
        """When :meth:`handle` must be called even if no fact comes in; None if never."""
        times = [worker.deadline for worker in self.workers.values()]
        times += [worker.answer_by for worker in self.workers.values() if worker.answer_by is not None]
        times += self.templates.deadlines(self.wanted.plan)
        times += [at for at in (self._leave_at, self._retry_at, self._tell_at, self.wanted.tell_at) if at is not None]
        if self.stage in RUNNING and self.wanted.canary is not None and self.wanted.canary.look_at is not None:
            times.append(self.wanted.canary.look_at)
        return min(times, default=None)

    def snapshot(self) -> Snapshot:
        """All that may be shown of the fleet, as it is now."""
        restarts, causes = self._crashes.restarts, self._crashes.causes
        workers = [
            WorkerSnapshot(w.slot, w.id, w.phase, w.plan.generation, w.since, restarts[w.slot], causes.get(w.slot, ""))
            for w in self.workers.values()
        ]
        wanted = self.wanted
        is_complete = wanted.is_settled and wanted.has_all_ready(self.workers.values())
        canary = str(wanted.canary.evidence or "") if wanted.canary is not None else ""
        return Snapshot(
            self.stage,
            tuple(workers),
            wanted.size,
            wanted.plan,
            wanted.settled,
            wanted.last_reload,
            is_complete,
            self._tally.exits,
            wanted.reloads,
            canary,
            tuple(TemplateSnapshot(t.id, t.phase, t.plan.generation, t.since, t.has_app) for t in self.templates.all.values()),
        )

    def state(self, now: float) -> dict[str, Any]:
        """All that another fleet needs to go on from here, fit for JSON; but for the plans' configurations.

        It serves, and neither a reload nor a stop is under way.
        """
        self._ids = count(number := next(self._ids))
        return {
            "now": now,
            "wanted": self.wanted.state(),
            # A template ends with its supervisor, and what it was asked for with it.
            "workers": [worker.state() for worker in self.workers.values() if worker.phase is not Phase.ASKED],
            "next_id": number,
            "crashes": self._crashes.state(),
            "answers": self._answers.state(),
            "exits": dict(self._tally.exits),
        }

    def restore(self, state: Mapping[str, Any], plans: Mapping[int, Plan], now: float) -> None:
        """Go on from this :meth:`state`; ``plans`` by generation. Nobody could hear the workers since then."""
        self.stage = Stage.SERVING
        self.wanted.restore(state["wanted"], plans[state["wanted"]["generation"]])
        for one in state["workers"]:
            worker = self.workers[one["id"]] = Worker.restored(one, plans[one["generation"]])
            # As after a suspension: the first decision is taken before what they said meanwhile is read.
            worker.postpone(now - state["now"] + WAKING_UP)
        self._ids = count(state["next_id"])
        self._crashes.restore(state["crashes"])
        self._answers.restore(state["answers"])
        self._tally.restore(state["exits"])

    # ------------------------------------------------------------------------------------------------------------ record

    def _rank(self, fact: Fact) -> int:
        """What is recorded last: orders, and before them crashes, which may stop everything. No worker that is gone is told."""
        if isinstance(fact, Order):
            return 2
        worker = self.workers.get(fact.worker) if isinstance(fact, Exited) else None
        return 1 if worker is not None and worker.is_occupying else 0

    def _record(self, fact: Fact, now: float) -> None:
        match fact:
            case Stop():
                self._stop(fact, now)
            case StopNow():
                self._answers.wait(fact.ticket, Stopped())
                self._quit(now)
            case Reload():
                self._answers.wait(fact.ticket, self._rollout.reload(fact, self.stage, now))
            case Resize():
                self._answers.wait(fact.ticket, self._resize(fact))
            case Restart():
                self._answers.wait(fact.ticket, self._restart(fact))
            case Measured():
                if self.stage in RUNNING:
                    self._rollout.weigh(fact, now)
            case TemplateReady():
                self.templates.became_ready(fact)
            case TemplateLost():
                self._actions += self.templates.lose(fact, now)
            case TemplateGone():
                self._actions += self.templates.remove(fact, now)
            case Reopen():
                self._actions.append(ReopenLogs(fact.ticket))
            case Upgrade():
                # While no stop is ordered, ``upgrade/`` obeys it, and the fleet is not asked.
                self._answers.wait(fact.ticket, Known(*failed("the server stops")))
            case SetLogLevel():
                self._actions.append(SetLevel(fact.level))
                self._answers.wait(fact.ticket, Known(DONE, {"level": fact.level}))
            case _:
                worker = self.workers.get(fact.worker)
                if worker is not None:
                    self._record_worker(fact, worker, now)

    def _record_worker(self, fact: WorkerFact, worker: Worker, now: float) -> None:
        if isinstance(fact, Exited):
            del self.workers[worker.id]
            self._tally.exited(worker, fact.cause)
        handler = ON_FACT.get((worker.standing, type(fact))) or IN_ANY_PHASE.get(type(fact))
        if handler is not None:
            handler(self, worker, fact, now)

    def _became_ready(self, worker: Worker, fact: Ready, now: float) -> None:
        wanted = self.wanted
        worker.enter(Phase.READY, now + worker.plan.config.timeout_worker_healthcheck)
        if fact.error is not None:
            self._teller.start_failed(fact.error)
            worker.error = fact.error
            self._say("shows this error to every client, until a file is saved", worker, Level.WARNING)
        elif wanted.is_development and worker.plan is wanted.plan and not wanted.is_settled and wanted.last_reload is not None:
            self._teller.serves_new_code(worker, now - wanted.last_reload.began)
        else:
            self._say(f"ready in {(now - worker.since) * 1000:.0f} ms", worker)
        self._crashes.failures.pop(worker.slot, None)
        if self.stage is Stage.BOOTING:
            self.stage = Stage.SERVING

    def _became_ready_too_late(self, worker: Worker, fact: Ready, now: float) -> None:
        # It may have connections already. It has the order to leave, so it drains.
        worker.enter_draining(now, worker.may_drain_for(patient=self.stage in RUNNING))

    def _reported_failure(self, worker: Worker, fact: Failed, now: float) -> None:
        worker.enter(Phase.FAILED, now + LEAVING_FAILED)
        worker.fate = worker.fate or ExitReason.STARTUP
        self._start_failed(worker, fact.error, now)

    def _beat(self, worker: Worker, fact: Beat, now: float) -> None:
        if fact.at <= worker.beat:
            return
        worker.beat = fact.at
        deadline = fact.at + worker.plan.config.timeout_worker_healthcheck
        if worker.phase is Phase.READY:
            # Never earlier: a suspension moved the deadline, and the first beat that we read after it is from before it.
            worker.deadline = max(worker.deadline, deadline)
        elif deadline > now:
            worker.enter(Phase.READY, deadline)

    def _exited_early(self, worker: Worker, fact: Exited, now: float) -> None:
        self._start_failed(worker, f"exited before it was ready: {fact.cause}", now, named=True)

    def _exited_ready(self, worker: Worker, fact: Exited, now: float) -> None:
        self._crashed(worker, f"crashed: {fact.cause}", now)

    def _exited_drained(self, worker: Worker, fact: Exited, now: float) -> None:
        # A developer does not need a line for each old worker that leaves as it should.
        is_usual = self.wanted.is_development and fact.cause == "exit code 0"
        self._say(f"drained: {fact.cause}", worker, Level.DEBUG if is_usual else Level.INFO)

    def _was_asked_for(self, worker: Worker, fact: Asked, now: float) -> None:
        worker.enter(Phase.ASKED, now + ASKING)

    def _was_forked(self, worker: Worker, fact: Forked, now: float) -> None:
        worker.enter(Phase.STARTING, now + worker.plan.config.timeout_worker_startup)
        # A template forks one after the other.
        for other in self.workers.values():
            if other.phase is Phase.ASKED and other.template == worker.template:
                other.deadline = now + ASKING

    def _was_not_forked(self, worker: Worker, fact: NotForked, now: float) -> None:
        # Its slot is empty again. That is the template's fault, so nothing is counted against the slot.
        del self.workers[worker.id]

    def _not_forked_in_time(self, worker: Worker, now: float) -> None:
        self._stop_asking(worker, is_late=True)
        if worker.template is not None:
            why = f"has forked no worker within {ASKING:g} s; killed"
            self._actions += self.templates.lose(TemplateLost(worker.template, why), now)

    def _became_deaf(self, worker: Worker, fact: Deaf, now: float) -> None:
        self._kill_blamed(worker, "closed its channel to the supervisor", now)

    def _violated(self, worker: Worker, fact: Violated, now: float) -> None:
        self._kill_blamed(worker, fact.what, now)

    def _recycle(self, worker: Worker, fact: Recycle, now: float) -> None:
        if not worker.recycling:
            worker.recycling = fact.reason
            self._say(f"to be replaced: {fact.reason}", worker)

    def _delivers(self, worker: Worker, fact: Delivering, now: float) -> None:
        if worker.phase is Phase.DRAINING and self.stage in RUNNING and self.wanted.is_development:
            worker.deadline = max(worker.deadline, now + DELIVERING)

    def _waits(self, worker: Worker, fact: Waiting, now: float) -> None:
        worker.waits, worker.told_at, worker.answer_by = fact.waits, now, None

    def _crashed(self, worker: Worker, what: str, now: float) -> None:
        if self.stage is not Stage.SERVING or self.wanted.is_rejected(worker):
            self._say(what, worker, Level.WARNING)
            return
        if self.wanted.is_canary(worker):
            self._say(what, worker, Level.WARNING)
            self._rollout.roll_back(f"a worker {what}", Result.ROLLED_BACK, now)
            return
        self._crashes.died(worker.slot, now, worker.since)
        self._count_crash(worker, what, now)

    def _count_crash(self, worker: Worker, what: str, now: float) -> None:
        """Say when the slot is filled again, unless there were too many crashes."""
        self._crashes.restarts[worker.slot] += 1
        self._crashes.causes[worker.slot] = what
        wait = self._due(worker.slot) - now
        when = f"in {wait:.1f} s" if wait > 0 else "at once"
        self._say(f"{what}; to be replaced {when}", worker, Level.WARNING)
        limit = self.wanted.plan.config.limit_crashes
        if self._crashes.exceeded(limit, now):
            self._say(f"--limit-crashes {limit}: more crashes than that within a minute, giving up", level=Level.ERROR)
            self._code = EXIT_CRASHES
            self._enter_stopping(now)

    def _start_failed(self, worker: Worker, error: str, now: float, named: bool = False) -> None:
        if self.stage not in RUNNING or not any(worker.plan is layer.plan for layer in self.wanted.layers(())):
            return
        if self.wanted.is_canary(worker):
            self._say(error, worker if named else None, Level.ERROR)
            self._rollout.roll_back(error, Result.ABANDONED, now)
            return
        if self.wanted.canary is None and self.wanted.is_replacing(self.workers.values()):
            self._say(error, worker if named else None, Level.ERROR)
            self._rollout.abandon(error, self.workers.values(), now)
            return
        self._teller.start_failed(error, worker if named else None)
        self._crashes.failed(worker.slot, now, error)
        # Before any worker was ready the slot is not tried again, so there is nothing to say.
        if self.stage is Stage.SERVING:
            self._count_crash(worker, "failed to start", now)
            self._crashes.causes[worker.slot] = f"failed to start: {error.strip().rpartition(chr(10))[2]}"

    # ------------------------------------------------------------------------------------------------------------ orders

    def _resize(self, order: Resize) -> Goal:
        if self.stage not in RUNNING:
            return Known(*failed("the server stops"))
        size = self.wanted.size + order.by if order.to is None else order.to
        if order.ticket is not None and not 1 <= size <= MAX_SIZE:
            return Known(SENSELESS, {"error": f"{size} workers: must be 1 to {MAX_SIZE}"})
        self.wanted.resize(size)
        self._say(f"Now {count_workers(self.wanted.size)}")
        return Resized(self.wanted.size)

    def _restart(self, order: Restart) -> Goal:
        if self.stage not in RUNNING:
            return Known(*failed("the server stops"))
        if order.slot >= self.wanted.size:
            return Known(SENSELESS, {"error": f"there is no slot {order.slot}: the highest is {self.wanted.size - 1}"})
        self._crashes.forgive_slot(order.slot)
        its = [worker for worker in self.workers.values() if worker.slot == order.slot]
        for worker in its:
            if worker.standing is Phase.READY and not worker.recycling:
                worker.recycling = "somebody asked for it"
                self._say(f"to be replaced: {worker.recycling}", worker)
        # A worker that is starting is a new one already.
        starting = [worker.id for worker in its if worker.standing in COMING]
        return Restarted(order.slot, max(starting, default=next(self._ids)))

    def _stop(self, order: Stop, now: float) -> None:
        self._answers.wait(order.ticket, Stopped())
        if order.ticket is not None and self.stage not in RUNNING:
            return
        is_another = self._wishes.is_another(now, order.typed)
        self._is_typed = order.typed
        delay = self.wanted.plan.config.shutdown_delay if order.delayed else 0
        if is_another:
            self._enter_quitting()
            for worker in list(self.workers.values()):
                self._kill(worker, now)
        elif self.stage in RUNNING and delay > 0:
            self.stage = Stage.LEAVING
            self._leave_at = now + delay
            self._say(f"Stopping in {delay:g} s, still serving")
            self._actions += [Unready(w.id) for w in self.workers.values() if w.standing is Phase.READY]
        elif self.stage in RUNNING:
            self._enter_stopping(now)

    def _quit(self, now: float) -> None:
        if self._enter_quitting():
            for worker in self.workers.values():
                if worker.phase is Phase.DRAINING:
                    self._tell_to_quit(worker, now)

    def _hurry(self, facts: Iterable[Fact], now: float) -> None:
        """No worker is left, only auxiliaries that finish their work. After another wish to stop, wait for them no longer."""
        is_in_haste = False
        for fact in facts:
            if isinstance(fact, Stop | StopNow):
                self._answers.wait(fact.ticket, Stopped())
                is_in_haste = is_in_haste or isinstance(fact, StopNow) or self._is_another_wish(fact, now)
            elif isinstance(fact, Order):
                self._answers.wait(fact.ticket, Known(*failed("the server stops")))
        if is_in_haste:
            self._actions.append(Finish(self._code, at_once=True))

    def _is_another_wish(self, order: Stop, now: float) -> bool:
        return order.ticket is None and self._wishes.is_another(now, order.typed)

    def _enter_stopping(self, now: float) -> None:
        self.stage = Stage.STOPPING
        self._leave_at = None
        self._tell_at = now + PATIENCE
        self._say("Stopping")
        self._actions.append(CloseListeners())
        for worker in self.workers.values():
            if worker.phase is Phase.DRAINING:
                # It drains patiently, for a reload or a smaller size. Now no successor comes, so there is no reason to be.
                self._drain(worker, patient=False, now=now)

    def _enter_quitting(self) -> bool:
        """Returns False if we are quitting already."""
        if self.stage is Stage.QUITTING:
            return False
        self.stage = Stage.QUITTING
        self._leave_at = None
        self._say("Stopping at once", level=Level.WARNING)
        return True

    # ------------------------------------------------------------------------------------------------------------ decide

    def _forgive_suspension(self, now: float) -> None:
        """If we are called much later than we asked for, the machine or the process group was suspended: no worker is to
        blame."""
        if self._announced is not None and now - self._announced > OVERSLEPT:
            if self.wanted.canary is not None:
                self.wanted.canary.postpone(now - self._announced)
            self.templates.forgive_suspension(now - self._announced + WAKING_UP)
            for worker in self.workers.values():
                worker.postpone(now - self._announced + WAKING_UP)

    def _expire(self, now: float) -> None:
        if self._leave_at is not None and self._leave_at <= now:
            self._enter_stopping(now)
        for worker in [worker for worker in self.workers.values() if worker.deadline <= now]:
            ON_DEADLINE[worker.phase](self, worker, now)
        self._actions += self.templates.expire(now)

    def _plans(self) -> list[Plan]:
        """The plans that workers may be born as from now on, without another reload."""
        return [self.wanted.plan, self.wanted.settled] if self.stage in RUNNING else []

    def _urge(self, now: float) -> None:
        """Repeat by a signal an order to drain that was not answered: perhaps the application reads the worker's channel."""
        for worker in self.workers.values():
            if worker.answer_by is not None and worker.answer_by <= now:
                worker.answer_by = None
                self._say("does not answer the order to drain; told by a signal as well", worker, Level.WARNING)
                self._actions.append(DrainBySignal(worker.id))

    def _suspect(self, worker: Worker, now: float) -> None:
        if self.stage is Stage.QUITTING:
            self._kill(worker, now)
            return
        worker.enter(Phase.HUNG, now + HANG_REPORT)
        self._actions.append(ReportHang(worker.id))

    def _kill_hung(self, worker: Worker, now: float) -> None:
        config = worker.plan.config
        match worker.standing:
            case Phase.STARTING:
                why = f"not ready within --timeout-worker-startup {config.timeout_worker_startup:g} s"
            case Phase.READY:
                worker.fate = worker.fate or ExitReason.HANG
                why = f"hung: its event loop did not turn for {config.timeout_worker_healthcheck:g} s"
            case _:
                why = "did not finish within the grace period"
        self._kill_blamed(worker, why, now)

    def _give_up(self, worker: Worker, now: float) -> None:
        del self.workers[worker.id]
        self._tally.exited(worker, "")
        self._say(f"still there {UNKILLABLE:g} s after SIGKILL; given up", worker, Level.ERROR)

    def _retire(self, now: float) -> None:
        if self.stage in RUNNING:
            self._retire_unneeded(now)
            return
        for worker in list(self.workers.values()):
            if worker.phase in (*COMING, Phase.HUNG) and self.stage is Stage.QUITTING:
                self._kill(worker, now)
            elif worker.phase is Phase.STARTING:
                self._call_off(worker, patient=False, now=now)
            elif worker.phase is Phase.READY and self.stage is Stage.STOPPING:
                self._drain(worker, patient=False, now=now)
            elif worker.phase is Phase.READY and self.stage is Stage.QUITTING:
                self._tell_to_quit(worker, now)

    def _retire_unneeded(self, now: float) -> None:
        for worker in list(self.workers.values()):
            if self.wanted.is_rejected(worker) and worker.phase is Phase.STARTING:
                self._call_off(worker, patient=True, now=now)
            elif self.wanted.is_rejected(worker) and worker.phase is Phase.READY:
                self._drain(worker, patient=True, now=now)
        for layer in self.wanted.layers(self.workers.values()):
            self._retire_layer(layer, now)
        if self.templates.is_awaited(self.wanted.plan):
            # Nobody could take the place of one that leaves.
            return
        if (leaving := displaced(self.workers.values(), self.wanted.size, self.wanted.plan)) is not None:
            self._drain(leaving, patient=True, now=now)

    def _retire_layer(self, layer: Layer, now: float) -> None:
        ready: list[Worker] = []
        is_development = self.wanted.is_development
        for worker in layer.workers:
            if worker.phase is Phase.STARTING and (worker.plan is not layer.plan or worker.slot >= layer.size):
                self._call_off(worker, patient=not is_development, now=now, hand_off=is_development)
            elif worker.phase is Phase.READY and is_development and self.wanted.is_old(worker):
                # From now on the old code must not answer: requests wait for the new code.
                self._drain(worker, patient=False, now=now, hand_off=True)
            elif worker.phase is Phase.READY:
                ready.append(worker)
        for worker in surplus(ready, layer.size):
            self._drain(worker, patient=True, now=now)

    def _fill(self, now: float) -> None:
        self._retry_at = None
        if self.stage in RUNNING:
            for layer in self.wanted.layers(self.workers.values()):
                found = vacancies(layer.workers, layer.size, layer.plan, len(self.workers))
                self._spawn(layer.plan, found.empty, found.room, now)
                # Empty slots that wait for their backoff keep their room, so that they do not find it taken.
                self._spawn(layer.plan, found.stale, found.room - len(found.empty), now)

    def _spawn(self, plan: Plan, slots: list[int], room: int, now: float) -> None:
        """Fork workers of ``plan`` for ``slots``, as far as there is room and their backoff is over."""
        if self.templates.is_awaited(plan):
            return
        template = self.templates.ready(plan)
        for slot in slots:
            if self.stage is Stage.BOOTING and self._crashes.has_failed(slot):
                continue
            due = self._due(slot)
            if due > now:
                self._retry_at = min(due, self._retry_at or due)
            elif room > 0:
                room -= 1
                source = template.id if template is not None else None
                deadline = now + (plan.config.timeout_worker_startup if source is None else ASKING)
                worker = Worker(next(self._ids), slot, plan, since=now, deadline=deadline, template=source)
                self.workers[worker.id] = worker
                self._actions.append(Spawn(worker.id, slot, plan.generation, plan.config, source))

    def _due(self, slot: int) -> float:
        """When an empty slot may be filled: sooner if no worker is ready or about to be."""
        return self._crashes.due(slot, any(w.phase in (*COMING, Phase.READY) for w in self.workers.values()))

    def _tell_reloaded(self, now: float) -> None:
        text = self.wanted.tell_complete(self.workers.values(), self.stage in RUNNING, now)
        if text:
            self._say(text)

    def _tell_waiting(self, now: float) -> None:
        """Say what a stop waits for, if it waits longer than usual."""
        if self._tell_at is None or now < self._tell_at:
            return
        self._tell_at = None
        workers = list(self.workers.values())
        if workers and self.stage is Stage.STOPPING:
            again = "Ctrl-C again to stop now" if self._is_typed else "a second signal stops now"
            grace = self.wanted.plan.config.timeout_graceful_shutdown
            self._say(f"Waiting for {describe_workers(workers, now)}, up to {grace:g} s; {again}")

    def _finish(self) -> None:
        is_idle = not any(w.is_occupying for w in self.workers.values()) and not self.templates.is_awaited(self.wanted.plan)
        if self.stage is Stage.BOOTING and is_idle:
            self._code = EXIT_STARTUP
            self.stage = Stage.STOPPING
        if self.stage not in RUNNING and not self.workers:
            self._actions.append(Finish(self._code, at_once=self.stage is Stage.QUITTING))
            self.stage = Stage.FINISHED
            self._leave_at = self._tell_at = None

    def _answer(self, now: float) -> None:
        """Answer the orders whose outcome is clear."""
        if self.stage not in RUNNING:
            self.wanted.cut_short("the server stops", now)
        if not self._answers.is_empty:
            view = View(now, self.stage, self._code, self.wanted, self.workers.values(), self._crashes.failures)
            self._actions += self._answers.due(view)

    # --------------------------------------------------------------------------------------------------------------- act

    def _act(self, action: Action) -> None:
        self._actions.append(action)

    def _drain(self, worker: Worker, patient: bool, now: float, hand_off: bool = False) -> None:
        seconds = worker.may_drain_for(patient)
        if worker.phase is Phase.DRAINING:
            seconds = min(seconds, worker.deadline - now)
        self._decide_fate(worker)
        worker.enter_draining(now, seconds)
        self._actions.append(Drain(worker.id, patient, hand_off))

    def _call_off(self, worker: Worker, patient: bool, now: float, hand_off: bool = False) -> None:
        """Let a worker that is starting leave. Perhaps it serves already, and we have not read that yet: so no SIGKILL."""
        self._decide_fate(worker)
        worker.enter(Phase.CALLED_OFF, now + CALLING_OFF)
        self._actions.append(CallOff(worker.id, patient, hand_off))

    def _decide_fate(self, worker: Worker) -> None:
        """It is told to leave: remember why, unless that is known."""
        if worker.fate is None:
            is_running, size = self.stage in RUNNING, self.wanted.size
            worker.fate = reason_to_leave(worker, is_running, size, self.wanted.plan.generation)

    def _tell_to_quit(self, worker: Worker, now: float) -> None:
        self._decide_fate(worker)
        worker.enter(Phase.DRAINING, now + QUITTING)
        self._actions.append(Quit(worker.id))

    def _stop_asking(self, worker: Worker, is_late: bool = False) -> None:
        del self.workers[worker.id]
        self._actions.append(GiveUp(worker.id, is_late))

    def _kill(self, worker: Worker, now: float) -> None:
        if worker.phase is Phase.ASKED:
            self._stop_asking(worker)
        elif worker.phase is not Phase.KILLED:
            self._decide_fate(worker)
            worker.enter(Phase.KILLED, now + UNKILLABLE)
            self._actions.append(Kill(worker.id))

    def _kill_blamed(self, worker: Worker, why: str, now: float) -> None:
        """Kill, say why, and count that as a crash unless the worker was to leave anyway."""
        standing, text = worker.standing, f"{why}; killed"
        worker.fate = worker.fate or (ExitReason.STARTUP if standing is Phase.STARTING else ExitReason.CRASH)
        worker.enter(Phase.KILLED, now + UNKILLABLE)
        match standing:
            case Phase.STARTING:
                self._start_failed(worker, text, now, named=True)
            case Phase.READY:
                self._crashed(worker, text, now)
            case Phase.DRAINING | Phase.FAILED:
                self._say(text, worker, Level.WARNING)
        # After the line that says why: the host logs the stacks when it carries this out.
        self._actions.append(Kill(worker.id))


ON_FACT: Mapping[tuple[Phase, type[WorkerFact]], Callable[[Fleet, Worker, Any, float], None]] = {
    (Phase.STARTING, Asked): Fleet._was_asked_for,
    (Phase.ASKED, Forked): Fleet._was_forked,
    (Phase.ASKED, NotForked): Fleet._was_not_forked,
    (Phase.ASKED, Exited): Fleet._exited_early,
    (Phase.STARTING, Ready): Fleet._became_ready,
    (Phase.STARTING, Failed): Fleet._reported_failure,
    (Phase.STARTING, Recycle): Fleet._recycle,
    (Phase.STARTING, Deaf): Fleet._became_deaf,
    (Phase.STARTING, Exited): Fleet._exited_early,
    (Phase.CALLED_OFF, Ready): Fleet._became_ready_too_late,
    (Phase.READY, Beat): Fleet._beat,
    (Phase.READY, Recycle): Fleet._recycle,
    (Phase.READY, Deaf): Fleet._became_deaf,
    (Phase.READY, Exited): Fleet._exited_ready,
    (Phase.DRAINING, Delivering): Fleet._delivers,
    (Phase.DRAINING, Exited): Fleet._exited_drained,
}
"""What a fact means to a worker in a phase; to a hung worker, in the phase in which it hung. Other facts change nothing, except
that a worker that has exited is gone, whatever its phase."""
IN_ANY_PHASE: Mapping[type[WorkerFact], Callable[[Fleet, Worker, Any, float], None]] = {
    Violated: Fleet._violated,
    Waiting: Fleet._waits,
}
"""What a fact means whatever the phase."""
ON_DEADLINE: Mapping[Phase, Callable[[Fleet, Worker, float], None]] = {
    Phase.ASKED: Fleet._not_forked_in_time,
    Phase.STARTING: Fleet._suspect,
    Phase.READY: Fleet._suspect,
    Phase.DRAINING: Fleet._suspect,
    Phase.HUNG: Fleet._kill_hung,
    Phase.FAILED: Fleet._kill,
    Phase.CALLED_OFF: Fleet._kill,
    Phase.KILLED: Fleet._give_up,
}
"""What happens to a worker that stays in a phase for too long."""
