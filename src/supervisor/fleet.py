"""Which workers should live, and what to do about it: the supervisor's decisions, without a pid, a socket or a clock.

The theory, in the manner of h11's ``_state.py``: the fleet is told facts and answers with actions.

    actions = fleet.handle(facts, now)

It first *records* every fact, then derives actions from its state alone, never from the fact just seen (level-triggered,
as Kubernetes' controllers are): it *expires* who passed a deadline, *urges* who does not answer, *retires* who has a ready
successor, *fills* what is missing, *settles* a reload that is complete, and *finishes* when nobody is left. A lost, late or
doubled fact can so delay a decision but never corrupt one.

Every worker is in one phase, and every phase but FAILED and KILLED leads on by itself or by its deadline:

    STARTING ---> READY ---> DRAINING ---> (gone)
       |  \\         |             |
       |   FAILED   +--> HUNG <---+        HUNG: its stacks are being written down; a beat brings it back to READY
       |     |             |
       +-----+----------> KILLED ---> (gone, or given up after a while)

A worker that is not needed any more while it is STARTING is CALLED_OFF: then it is gone, or DRAINING if it had just begun to
serve, or KILLED in the end.

What is wanted is a *size* and a *plan* (a generation and its configuration). A worker is obsolete when it is of an older
generation than the plan's or is being recycled. Two rules replace workers for whatever reason:

- a slot in which all workers are obsolete gets a successor, if no more than ``surge`` workers are extra at a time;
- a worker that is not needed (its slot has a newer ready worker, or lies beyond the size) drains when the wanted number of
  workers is ready without it.

In development (``--reload``) the old code is to answer nobody any more, so a third rule goes before the second: a ready worker
of an older generation drains at once, and what has not been asked yet is its successor's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count

from ..config.options import Config
from ..ipc.waits import PATIENCE
from .backoff import LAST_FAILED, Backoff, Intensity
from .messages import (
    Action,
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
    Kill,
    Level,
    Quit,
    Ready,
    Recycle,
    ReopenLogs,
    ReportHang,
    Say,
    Spawn,
    Unready,
    Violated,
    Waiting,
    WorkerFact,
)
from .orders import Order, Reload, Reopen, Resize, Stop, StopNow
from .phases import AUTOPSY, CALLING_OFF, DELIVERING, LEAVING_FAILED, QUITTING, RUNNING, UNKILLABLE, Phase, Plan, Stage, Worker
from .waiting import describe_workers
from .wishes import StopWishes

OVERSLEPT = 1.0
"""Seconds by which a deadline may be missed before we believe to have been suspended."""
WAKING_UP = 2.0
"""Seconds given to everybody after that, to turn their event loops again."""

EXIT_STARTUP, EXIT_CRASHES = 3, 4


class Fleet:
    """All workers, with the size and the plan wanted.

    ``jitter`` gives numbers from 0 to 1, at random but for tests.
    """

    def __init__(self, config: Config, jitter: Callable[[], float]) -> None:
        self.size = config.workers
        self.plan = self.settled = Plan(0, config)
        """What is wanted, and what was last reached: where a failed reload goes back to."""
        self.workers: dict[int, Worker] = {}
        self.stage = Stage.BOOTING
        self._code = 0
        self._wishes = StopWishes()
        self._jitter = jitter
        self._ids, self._generations = count(1), count(1)
        self._backoffs: defaultdict[int, Backoff] = defaultdict(Backoff)
        self._intensity = Intensity()
        self._last_failure = 0.0
        """When a start failed last."""
        self._told = ""
        """The start failure told last: the same one of many workers is printed once."""
        self._reload_began = 0.0
        self._leave_at: float | None = None
        self._tell_at: float | None = None
        """When to say for what a stop waits."""
        self._is_typed = False
        """Whether the order to stop was typed."""
        self._reloaded_in: float | None = None
        """Seconds that a reload took, if its end is still to be said."""
        self._reloaded_at = 0.0
        self._retry_at: float | None = None
        self._announced: float | None = None
        self._actions: list[Action] = []

    def handle(self, facts: Iterable[Fact], now: float) -> list[Action]:
        """Record ``facts``, then decide; returns what is to be done, in order. ``now`` is in seconds and never goes back."""
        self._actions = []
        if self.stage is Stage.FINISHED:
            self._hurry(facts, now)
            return self._actions
        self._forgive_suspension(now)
        # All beats are recorded before anybody is judged: after a suspension they arrive late, together. And orders are
        # recorded last, so that they are not carried out on workers whose exit is known.
        for fact in sorted(facts, key=lambda fact: isinstance(fact, Order)):
            self._record(fact, now)
        self._expire(now)
        self._urge(now)
        self._retire(now)
        self._fill(now)
        self._settle(now)
        self._tell_reloaded(now)
        self._tell_waiting(now)
        self._finish()
        self._announced = self.next_deadline()
        return self._actions

    def next_deadline(self) -> float | None:
        """When :meth:`handle` must be called even if no fact comes in; None if never."""
        times = [worker.deadline for worker in self.workers.values()]
        times += [worker.answer_by for worker in self.workers.values() if worker.answer_by is not None]
        times += [at for at in (self._leave_at, self._retry_at, self._tell_at) if at is not None]
        times += [] if self._reloaded_in is None else [self._reloaded_at + PATIENCE]
        return min(times, default=None)

    # ------------------------------------------------------------------------------------------------------------ record

    def _record(self, fact: Fact, now: float) -> None:
        match fact:
            case Stop():
                self._stop(fact, now)
            case StopNow():
                self._quit(now)
            case Reload():
                self._reload(fact, now)
            case Resize(by):
                self._resize(by)
            case Reopen():
                self._actions.append(ReopenLogs())
            case _:
                worker = self.workers.get(fact.worker)
                if worker is not None:
                    self._record_worker(fact, worker, now)

    def _record_worker(self, fact: WorkerFact, worker: Worker, now: float) -> None:
        match fact:
            case Ready(_, error):
                if worker.standing is Phase.STARTING:
                    self._became_ready(worker, error, now)
                elif worker.phase is Phase.CALLED_OFF:
                    # It has connections already, perhaps, and the order to drain.
                    worker.enter_draining(now, worker.may_drain_for(patient=self.stage in RUNNING))
            case Failed(_, error):
                if worker.standing is Phase.STARTING:
                    worker.enter(Phase.FAILED, now + LEAVING_FAILED)
                    self._start_failed(worker, error, now)
            case Beat(_, at):
                self._beat(worker, at, now)
            case Exited(_, cause):
                del self.workers[worker.id]
                self._exited(worker, cause, now)
            case Violated(_, what):
                self._kill_blamed(worker, what, now)
            case Deaf():
                if worker.is_occupying:
                    self._kill_blamed(worker, "closed its channel to the supervisor", now)
            case Recycle(_, reason):
                if worker.is_occupying and not worker.recycling:
                    worker.recycling = reason
                    self._say(f"to be replaced: {reason}", worker)
            case Delivering():
                if worker.phase is Phase.DRAINING and self.stage in RUNNING and self._is_development():
                    worker.deadline = max(worker.deadline, now + DELIVERING)
            case Waiting(_, waits):
                worker.waits, worker.told_at, worker.answer_by = waits, now, None

    def _became_ready(self, worker: Worker, error: str | None, now: float) -> None:
        worker.enter(Phase.READY, now + worker.plan.config.timeout_worker_healthcheck)
        if error is not None:
            self._tell_error(error)
            self._say("shows this error to whoever asks, until a file is saved", worker, Level.WARNING)
        elif self._is_development() and worker.plan is self.plan is not self.settled:
            self._say(f"reloaded in {(now - self._reload_began) * 1000:.0f} ms", worker)
        else:
            self._say(f"ready in {(now - worker.since) * 1000:.0f} ms", worker)
        if self.stage is Stage.BOOTING:
            self.stage = Stage.SERVING

    def _beat(self, worker: Worker, at: float, now: float) -> None:
        if at <= worker.beat or worker.standing is not Phase.READY:
            return
        worker.beat = at
        deadline = at + worker.plan.config.timeout_worker_healthcheck
        if worker.phase is Phase.READY:
            # Never shortened: after a suspension the deadline was moved, and the first beat we read is from before it.
            worker.deadline = max(worker.deadline, deadline)
        elif deadline > now:
            worker.enter(Phase.READY, deadline)

    def _exited(self, worker: Worker, cause: str, now: float) -> None:
        match worker.standing:
            case Phase.STARTING:
                self._start_failed(worker, f"exited before it was ready: {cause}", now, named=True)
            case Phase.READY:
                self._crashed(worker, f"crashed: {cause}", now)
            case Phase.DRAINING:
                self._say(f"drained: {cause}", worker)

    def _crashed(self, worker: Worker, what: str, now: float) -> None:
        if self.stage is not Stage.SERVING:
            self._say(what, worker, Level.WARNING)
            return
        self._backoffs[worker.slot].died(now, worker.since, self._jitter)
        self._count_crash(worker, what, now)

    def _count_crash(self, worker: Worker, what: str, now: float) -> None:
        """Say when the slot is filled again, unless there were too many crashes."""
        wait = self._due(worker.slot) - now
        when = f"in {wait:.1f} s" if wait > 0 else "at once"
        self._say(f"{what}; to be replaced {when}", worker, Level.WARNING)
        limit = self.plan.config.limit_crashes
        if self._intensity.exceeded(limit, now):
            self._say(f"--limit-crashes {limit}: more crashes than that within a minute, giving up", level=Level.ERROR)
            self._code = EXIT_CRASHES
            self._enter_stopping(now)

    def _start_failed(self, worker: Worker, error: str, now: float, named: bool = False) -> None:
        if self.stage not in RUNNING or worker.plan is not self.plan:
            return
        if self._is_reloading():
            self._say(error, worker if named else None, Level.ERROR)
            self._abandon()
            return
        self._tell_error(error, worker if named else None)
        self._last_failure = now
        self._backoffs[worker.slot].failed(now, self._jitter)
        # While nobody was ever ready the slot is not tried again, so there is nothing to say.
        if self.stage is Stage.SERVING:
            self._count_crash(worker, "failed to start", now)

    def _tell_error(self, error: str, worker: Worker | None = None) -> None:
        if error != self._told:
            self._told = error
            self._say(error, worker, Level.ERROR)

    # ------------------------------------------------------------------------------------------------------------ orders

    def _reload(self, order: Reload, now: float) -> None:
        if self.stage not in RUNNING:
            return
        self._adopt(Plan(next(self._generations), order.config or self.plan.config))
        self._reload_began = now if order.since is None else order.since
        # The new code deserves a fresh start, also in slots where the old one crashed all the time.
        self._backoffs.clear()
        self._told = ""
        self._say(order.announcement or f"Reload: replacing {self.size} {'worker' if self.size == 1 else 'workers'}")

    def _is_development(self) -> bool:
        """Whether new code matters more than old requests: old workers leave before their successors come."""
        return self.plan.config.reload

    def _is_reloading(self) -> bool:
        return any(
            worker.standing is Phase.READY and worker.plan.generation < self.plan.generation for worker in self.workers.values()
        )

    def _abandon(self) -> None:
        # Back to the configuration that is known to work, too: else every worker that crashes now could not be replaced.
        ready = [worker for worker in self.workers.values() if worker.standing is Phase.READY]
        newer = sum(worker.plan is self.plan for worker in ready)
        self._adopt(self.settled)
        mixed = f", {newer} of {len(ready)} with the new code" if newer else ""
        self._say(f"Reload abandoned: the workers that run go on serving{mixed}", level=Level.ERROR)

    def _adopt(self, plan: Plan) -> None:
        if plan.config.workers != self.plan.config.workers:
            self.size = plan.config.workers
        self.plan = plan

    def _resize(self, by: int) -> None:
        if self.stage in RUNNING:
            self.size = max(1, self.size + by)
            self._say(f"Now {self.size} {'worker' if self.size == 1 else 'workers'}")

    def _stop(self, order: Stop, now: float) -> None:
        another = self._wishes.is_another(now, order.typed)
        self._is_typed = order.typed
        delay = self.plan.config.shutdown_delay if order.delayed else 0
        if another:
            self._stop_at_once(now)
        elif self.stage in RUNNING and delay > 0:
            self.stage = Stage.LEAVING
            self._leave_at = now + delay
            self._say(f"Stopping in {delay:g} s, still serving")
            self._actions += [Unready(w.id) for w in self.workers.values() if w.standing is Phase.READY]
        elif self.stage in RUNNING:
            self._enter_stopping(now)

    def _stop_at_once(self, now: float) -> None:
        if self.stage is not Stage.QUITTING:
            self.stage = Stage.QUITTING
            self._leave_at = None
            self._say("Stopping at once", level=Level.WARNING)
        for worker in self.workers.values():
            self._kill(worker, now)

    def _hurry(self, facts: Iterable[Fact], now: float) -> None:
        """Nobody is left but those who tell others about it: a further wish to stop waits for these no longer."""
        if any(
            isinstance(fact, StopNow) or (isinstance(fact, Stop) and self._wishes.is_another(now, fact.typed)) for fact in facts
        ):
            self._actions.append(Finish(self._code, at_once=True))

    def _enter_stopping(self, now: float) -> None:
        self.stage = Stage.STOPPING
        self._leave_at = None
        self._tell_at = now + PATIENCE
        self._say("Stopping")
        self._actions.append(CloseListeners())
        for worker in self.workers.values():
            if worker.phase is Phase.DRAINING:
                # It drains patiently, for a reload; there is no successor to be patient for any more.
                self._drain(worker, patient=False, now=now)

    def _quit(self, now: float) -> None:
        if self.stage is not Stage.QUITTING:
            self.stage = Stage.QUITTING
            self._leave_at = None
            self._say("Stopping at once", level=Level.WARNING)
            for worker in self.workers.values():
                if worker.phase is Phase.DRAINING:
                    self._tell_to_quit(worker, now)

    # ------------------------------------------------------------------------------------------------------------ decide

    def _forgive_suspension(self, now: float) -> None:
        """If we come much later than asked for, the machine or the process group was suspended: nobody is to blame."""
        if self._announced is not None and now - self._announced > OVERSLEPT:
            for worker in self.workers.values():
                worker.deadline += now - self._announced + WAKING_UP
                if worker.answer_by is not None:
                    worker.answer_by += now - self._announced + WAKING_UP

    def _expire(self, now: float) -> None:
        if self._leave_at is not None and self._leave_at <= now:
            self._enter_stopping(now)
        for worker in [worker for worker in self.workers.values() if worker.deadline <= now]:
            match worker.phase:
                case Phase.KILLED:
                    del self.workers[worker.id]
                    self._say(f"still there {UNKILLABLE:g} s after SIGKILL; given up", worker, Level.ERROR)
                case Phase.HUNG:
                    self._kill_hung(worker, now)
                case Phase.STARTING | Phase.READY | Phase.DRAINING if self.stage is not Stage.QUITTING:
                    worker.enter(Phase.HUNG, now + AUTOPSY)
                    self._actions.append(ReportHang(worker.id))
                case _:
                    self._kill(worker, now)

    def _urge(self, now: float) -> None:
        """Tell by a signal those who have not answered the order to drain: their channel may be read by the application."""
        for worker in self.workers.values():
            if worker.answer_by is not None and worker.answer_by <= now:
                worker.answer_by = None
                self._say("does not answer the order to drain; told by a signal as well", worker, Level.WARNING)
                self._actions.append(DrainBySignal(worker.id))

    def _retire(self, now: float) -> None:
        if self.stage in RUNNING:
            self._retire_unneeded(now)
            return
        for worker in list(self.workers.values()):
            if worker.phase in (Phase.STARTING, Phase.HUNG) and self.stage is Stage.QUITTING:
                self._kill(worker, now)
            elif worker.phase is Phase.STARTING:
                self._call_off(worker, patient=False, now=now)
            elif worker.phase is Phase.READY and self.stage is Stage.STOPPING:
                self._drain(worker, patient=False, now=now)
            elif worker.phase is Phase.READY and self.stage is Stage.QUITTING:
                self._tell_to_quit(worker, now)

    def _retire_unneeded(self, now: float) -> None:
        ready: list[Worker] = []
        newest: dict[int, int] = {}
        for worker in self.workers.values():
            if worker.phase is Phase.STARTING and (worker.plan is not self.plan or worker.slot >= self.size):
                self._call_off(worker, patient=not self._is_development(), now=now, hand_on=self._is_development())
            elif worker.phase is Phase.READY and self._is_development() and worker.plan.generation < self.plan.generation:
                # From now on nobody is to be answered by the old code: requests wait for the new.
                self._drain(worker, patient=False, now=now, hand_on=True)
            elif worker.phase is Phase.READY:
                ready.append(worker)
                newest[worker.slot] = max(worker.id, newest.get(worker.slot, 0))
        surplus = [worker for worker in ready if worker.slot >= self.size or worker.id != newest[worker.slot]]
        surplus.sort(key=lambda worker: (worker.slot < self.size, -worker.slot, worker.id))
        for worker in surplus[: max(0, len(ready) - self.size)]:
            self._drain(worker, patient=True, now=now)

    def _fill(self, now: float) -> None:
        self._retry_at = None
        if self.stage not in RUNNING:
            return
        slots: dict[int, list[Worker]] = {slot: [] for slot in range(self.size)}
        occupying = [worker for worker in self.workers.values() if worker.is_occupying]
        for worker in occupying:
            if worker.slot < self.size:
                slots[worker.slot].append(worker)
        room = self.size + self.plan.config.surge - len(occupying)
        empty = [slot for slot, workers in slots.items() if not workers]
        stale = [slot for slot, workers in slots.items() if workers and all(map(self._is_obsolete, workers))]
        self._spawn(empty, room, now)
        # Room is kept for the empty slots that wait for their backoff: they must not find it taken.
        self._spawn(stale, room - len(empty), now)

    def _spawn(self, slots: list[int], room: int, now: float) -> None:
        """Fork workers for ``slots``, as far as there is room and their backoff is over."""
        for slot in slots:
            if self.stage is Stage.BOOTING and self._backoffs[slot].failures:
                continue
            due = self._due(slot)
            if due > now:
                self._retry_at = min(due, self._retry_at or due)
            elif room > 0:
                room -= 1
                deadline = now + self.plan.config.timeout_worker_startup
                worker = Worker(next(self._ids), slot, self.plan, since=now, deadline=deadline)
                self.workers[worker.id] = worker
                self._actions.append(Spawn(worker.id, slot, self.plan.generation, self.plan.config))

    def _due(self, slot: int) -> float:
        """When an empty slot may be filled: sooner if nobody is ready or about to be."""
        backoff = self._backoffs[slot]
        if any(worker.phase in (Phase.STARTING, Phase.READY) for worker in self.workers.values()):
            return backoff.until
        return min(backoff.until, self._last_failure + LAST_FAILED) if backoff.failures else backoff.until_last

    def _is_obsolete(self, worker: Worker) -> bool:
        return worker.plan.generation < self.plan.generation or bool(worker.recycling)

    def _settle(self, now: float) -> None:
        if self.plan is self.settled or self._is_reloading():
            return
        served = {worker.slot for worker in self.workers.values() if worker.phase is Phase.READY}
        if served.issuperset(range(self.size)):
            self.settled = self.plan
            if not self._is_development():
                self._reloaded_in, self._reloaded_at = now - self._reload_began, now

    def _tell_reloaded(self, now: float) -> None:
        """Say that a reload is complete: when all old workers are gone or, after a while, for what they still wait."""
        if self._reloaded_in is None:
            return
        old = [worker for worker in self.workers.values() if worker.plan.generation < self.settled.generation]
        in_time = self.plan is self.settled and self.stage in RUNNING and now < self._reloaded_at + PATIENCE
        if old and in_time:
            return
        text, self._reloaded_in = f"Reload complete in {self._reloaded_in:.1f} s", None
        if old:
            noun = "worker waits" if len(old) == 1 else "workers wait"
            text += f"; {len(old)} old {noun} for {describe_workers(old, now)}"
        self._say(text)

    def _tell_waiting(self, now: float) -> None:
        """Say for what a stop waits, if it does for longer than usual."""
        if self._tell_at is None or now < self._tell_at:
            return
        self._tell_at = None
        workers = list(self.workers.values())
        if workers and self.stage is Stage.STOPPING:
            again = "Ctrl-C again to stop now" if self._is_typed else "a second signal stops now"
            grace = self.plan.config.timeout_graceful_shutdown
            self._say(f"Waiting for {describe_workers(workers, now)}, up to {grace:g} s; {again}")

    def _finish(self) -> None:
        if self.stage is Stage.BOOTING and not any(worker.is_occupying for worker in self.workers.values()):
            self._code = EXIT_STARTUP
            self.stage = Stage.STOPPING
        if self.stage not in RUNNING and not self.workers:
            self._actions.append(Finish(self._code, at_once=self.stage is Stage.QUITTING))
            self.stage = Stage.FINISHED
            self._leave_at = self._tell_at = None

    # --------------------------------------------------------------------------------------------------------------- act

    def _say(self, text: str, worker: Worker | None = None, level: Level = Level.INFO) -> None:
        self._actions.append(Say(level, text, None if worker is None else worker.id))

    def _drain(self, worker: Worker, patient: bool, now: float, hand_on: bool = False) -> None:
        seconds = worker.may_drain_for(patient)
        if worker.phase is Phase.DRAINING:
            seconds = min(seconds, worker.deadline - now)
        worker.enter_draining(now, seconds)
        self._actions.append(Drain(worker.id, patient, hand_on))

    def _call_off(self, worker: Worker, patient: bool, now: float, hand_on: bool = False) -> None:
        """Let a worker that is starting leave. It may be serving already, and we have not read that yet: so no SIGKILL."""
        worker.enter(Phase.CALLED_OFF, now + CALLING_OFF)
        self._actions.append(CallOff(worker.id, patient, hand_on))

    def _tell_to_quit(self, worker: Worker, now: float) -> None:
        worker.enter(Phase.DRAINING, now + QUITTING)
        self._actions.append(Quit(worker.id))

    def _kill(self, worker: Worker, now: float) -> None:
        if worker.phase is not Phase.KILLED:
            worker.enter(Phase.KILLED, now + UNKILLABLE)
            self._actions.append(Kill(worker.id))

    def _kill_hung(self, worker: Worker, now: float) -> None:
        config = worker.plan.config
        match worker.standing:
            case Phase.STARTING:
                why = f"not ready within --timeout-worker-startup {config.timeout_worker_startup:g} s"
            case Phase.READY:
                why = f"hung: its event loop did not turn for {config.timeout_worker_healthcheck:g} s"
            case _:
                why = "did not finish within the grace period"
        self._kill_blamed(worker, why, now)

    def _kill_blamed(self, worker: Worker, why: str, now: float) -> None:
        """Kill, say why, and count that as a crash unless the worker was to leave anyway."""
        standing, text = worker.standing, f"{why}; killed"
        worker.enter(Phase.KILLED, now + UNKILLABLE)
        match standing:
            case Phase.STARTING:
                self._start_failed(worker, text, now, named=True)
            case Phase.READY:
                self._crashed(worker, text, now)
            case Phase.DRAINING | Phase.FAILED:
                self._say(text, worker, Level.WARNING)
        # Behind the line that says why: whoever carries this out logs the stacks.
        self._actions.append(Kill(worker.id))
