"""Answers the orders that a client waits for: each once, from the fleet's state. Pure.

Only ``Reopen`` is answered by the host, which alone knows how it went.

What was asked becomes a *goal*. After each of its decisions the fleet shows its state to all goals, and a goal that is reached,
or can't be reached any more, gives the answer. So the answer follows from the state, and never from the fact just seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..config.frozen import Value
from ..errors import EXIT_STARTUP, EXIT_USAGE
from .messages import Answer
from .phases import COMING, RUNNING, Phase, Stage, Worker
from .snapshot import Result
from .wanted import Wanted

DONE, SENSELESS, FAILED = 0, EXIT_USAGE, EXIT_STARTUP
"""Exit codes of ``tricornctl``. Without a server to talk to it exits with 1."""


class View(Value):
    """The fleet's state, as far as goals depend on it."""

    now: float
    stage: Stage
    code: int
    """The exit code, once the stage is FINISHED."""
    wanted: Wanted
    workers: Collection[Worker]
    failures: dict[int, str]
    """Why the last start in a slot failed, of slots in which it did."""

    @property
    def is_running(self) -> bool:
        """Whether no stop was ordered yet."""
        return self.stage in RUNNING

    def failure(self, slots: Collection[int]) -> str:
        """Why one of ``slots`` has no ready worker though a start was tried; empty if there is no such slot.

        A worker that is starting may still succeed.
        """
        busy = {worker.slot for worker in self.workers if worker.standing in COMING}
        return next((self.failures[slot] for slot in slots if slot in self.failures and slot not in busy), "")

    def is_served(self, slot: int) -> bool:
        """Whether ``slot`` has a ready worker."""
        return any(worker.slot == slot and worker.phase is Phase.READY for worker in self.workers)


class Goal(Protocol):
    """What somebody waits for."""

    def verdict(self, view: View) -> tuple[int, dict[str, Any]] | None:
        """The answer's code and details; None while it is open."""


class Answers:
    """All orders that wait for their answers."""

    def __init__(self) -> None:
        self._open: dict[int, Goal] = {}
        """By ticket."""

    def state(self) -> list[list[Any]]:
        """Who waits for what, fit for JSON. What is answered at once, or at the end, is not waited for here."""
        return [
            [ticket, type(goal).__name__, *vars(goal).values()]
            for ticket, goal in self._open.items()
            if type(goal).__name__ in LASTING
        ]

    def restore(self, state: Iterable[Sequence[Any]]) -> None:
        """Go on from this :meth:`state`."""
        self._open = {ticket: LASTING[name](*given) for ticket, name, *given in state}

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._open

    def wait(self, ticket: int | None, goal: Goal) -> None:
        """The order with ``ticket`` is answered when ``goal`` says so; without a ticket nobody waits."""
        if ticket is not None:
            self._open[ticket] = goal

    def due(self, view: View) -> list[Answer]:
        """The answers that can be given now; each is given once."""
        verdicts = {ticket: goal.verdict(view) for ticket, goal in self._open.items()}
        given = [Answer(ticket, *verdict) for ticket, verdict in verdicts.items() if verdict is not None]
        for answer in given:
            del self._open[answer.ticket]
        return given


def failed(error: str, **details: Any) -> tuple[int, dict[str, Any]]:
    """The verdict on an order that was carried out and failed."""
    return FAILED, {**details, "error": error or "unknown"}


class Known:
    """An order that is answered at once."""

    def __init__(self, code: int, details: dict[str, Any]) -> None:
        self._verdict = code, details

    def verdict(self, view: View) -> tuple[int, dict[str, Any]]:
        """What was known."""
        return self._verdict


class Reloaded:
    """The code that was on disk at ``asked`` answers everybody: generation ``generation``, or a later one."""

    def __init__(self, generation: int, asked: float) -> None:
        self._generation = generation
        self._asked = asked

    def verdict(self, view: View) -> tuple[int, dict[str, Any]] | None:
        """Complete, or why not."""
        if view.wanted.settled.generation >= self._generation:
            return self._complete(view)
        # No worker is born in a generation above the plan's any more: the plan went back to the settled one.
        is_abandoned = view.wanted.plan.generation < self._generation
        error = view.failure(range(view.wanted.size))
        if not view.is_running:
            result, why = Result.ABANDONED, f"the server stops{f': {error}' if error else ''}"
        elif is_abandoned:
            result, why = self._result(view), self._abandonment(view)
        elif error and not any(worker.standing is Phase.READY for worker in view.workers):
            # No old worker serves, so the fleet can't go back: it tries the start again and again.
            result, why = Result.ABANDONED, f"no worker is ready; the start is tried again: {error}"
        else:
            return None
        return failed(why, result=result.value, generation=self._generation, seconds=self._seconds(view))

    def _complete(self, view: View) -> tuple[int, dict[str, Any]] | None:
        mine = view.wanted.settled.generation
        old = [worker for worker in view.workers if worker.plan.generation < self._generation]
        if view.is_running and not all(map(has_stopped_accepting, old)):
            return None
        details = {"result": Result.COMPLETE.value, "generation": mine, "seconds": self._duration(view)}
        shown = next((w.error for w in view.workers if w.plan.generation == mine and w.error), "")
        return failed(shown, **details) if shown else (DONE, details)

    def _duration(self, view: View) -> float:
        """How long the reload took, as the log says it. If another reload had to complete it, counted from the order."""
        last = view.wanted.last_reload
        if last is None or last.generation != self._generation or last.ended is None:
            return self._seconds(view)
        return round(last.ended - last.began, 3)

    def _seconds(self, view: View) -> float:
        return round(view.now - self._asked, 3)

    def _result(self, view: View) -> Result:
        last = view.wanted.last_reload
        return last.result if last is not None and last.generation == self._generation else Result.ABANDONED

    def _abandonment(self, view: View) -> str:
        last = view.wanted.last_reload
        if last is None or last.generation == self._generation:
            return last.error if last is not None else ""
        return f"superseded by another reload (generation {last.generation}), which was abandoned: {last.error}"


class Resized:
    """``size`` workers are ready, and no others accept connections."""

    def __init__(self, size: int) -> None:
        self._size = size

    def verdict(self, view: View) -> tuple[int, dict[str, Any]] | None:
        """Done, or why not."""
        ready = sum(view.is_served(slot) for slot in range(view.wanted.size))
        details = {"wanted": view.wanted.size, "ready": ready}
        if not view.is_running:
            return failed("the server stops", **details)
        if view.wanted.size != self._size:
            return failed(f"superseded by another order: {view.wanted.size} workers are wanted now", **details)
        beyond = [worker for worker in view.workers if worker.slot >= view.wanted.size]
        if view.wanted.has_all_ready(view.workers):
            return (DONE, details) if all(map(has_stopped_accepting, beyond)) else None
        missing = [slot for slot in range(view.wanted.size) if not view.is_served(slot)]
        if error := view.failure(missing):
            return failed(f"{ready} of {view.wanted.size} workers are ready; the start is tried again: {error}", **details)
        return None


class Restarted:
    """A worker of ``slot`` younger than ``oldest`` is ready, and its elders accept no more."""

    def __init__(self, slot: int, oldest: int) -> None:
        """``oldest`` is the id from which on workers count as new."""
        self._slot = slot
        self._oldest = oldest

    def verdict(self, view: View) -> tuple[int, dict[str, Any]] | None:
        """Done, or why not."""
        its = [worker for worker in view.workers if worker.slot == self._slot]
        elders = [worker for worker in its if worker.id < self._oldest]
        details = {"slot": self._slot}
        if any(worker.id >= self._oldest and worker.phase is Phase.READY for worker in its):
            return (DONE, details) if all(map(has_stopped_accepting, elders)) else None
        if not view.is_running:
            return failed("the server stops", **details)
        if self._slot >= view.wanted.size:
            return failed(f"the slot is gone: {view.wanted.size} workers are wanted now", **details)
        if error := view.failure([self._slot]):
            return failed(f"the new worker does not start, which is tried again: {error}", **details)
        return None


class Stopped:
    """No worker is left."""

    def verdict(self, view: View) -> tuple[int, dict[str, Any]] | None:
        """Done, with the supervisor's exit code."""
        return (DONE, {"exit_code": view.code}) if view.stage is Stage.FINISHED else None


LASTING: Mapping[str, Callable[..., Goal]] = {goal.__name__: goal for goal in (Reloaded, Resized, Restarted)}
"""The goals that may be open for a while. An upgrade hands them over by these names, with what they were made of."""


def has_stopped_accepting(worker: Worker) -> bool:
    """Whether ``worker`` takes no new connections: it has answered the order to drain, or is about to be gone.

    One that did not answer in time was told by a signal, too, which needs only that its event loop turns.
    """
    return worker.phase in (Phase.KILLED, Phase.FAILED) or (worker.phase is Phase.DRAINING and worker.answer_by is None)
