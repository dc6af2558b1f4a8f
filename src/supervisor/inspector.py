"""Finds out what workers are doing, for the control socket: requests in flight, threads, tasks. It never waits.

A worker whose event loop turns writes a report when it is asked through its channel. If it has not answered after a moment, a
signal makes it write one, as a hang report. The signal can make a system call of a library fail, so it is not the first choice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto

from ..config.frozen import Value
from ..ipc.report import Report
from .child import REPORT_SHOWN, Child

TURN = 0.06
"""Seconds in which an event loop that turns answers; one that serves a full load turns within a few thousandths."""
WRITING = 0.04
"""Seconds that a worker gets to write after the signal, which takes a few thousandths. Its event loop may still answer."""
LAST_LOOK = 0.16
"""Seconds from the question after which a worker that has written nothing is given up: all have to be told within 0.2 s."""
TEXT = 1024 * 1024
"""Characters of all texts of one answer: to make a MiB ready to be sent takes us some hundredths of a second."""
MAX_WAITING = 64
"""Questions that may be open at once: eight for each client of the control socket."""
STATES = {"T": "it is stopped by a signal", "t": "a debugger holds it", "D": "it waits for a device", "Z": "it is dead"}
"""What the kernel says of a process that does not answer (proc_pid_stat(5))."""


class Inspected(Value):
    """What one worker is doing."""

    worker: int
    slot: int
    pid: int
    answered_by: str
    """``loop``, ``signal``, or ``nobody``: then the report's text says why."""
    report: Report


Receiver = Callable[[list[Inspected]], None]
"""Gets what was found, in the order of the slots; workers that have ended meanwhile are missing."""


class _Step(Enum):
    """How far the report of a worker is."""

    ASKED = auto()
    SIGNALLED = auto()
    DONE = auto()
    GONE = auto()


class _Look:
    """One worker's part of an inquiry."""

    def __init__(self, child: Child, step: _Step, until: float) -> None:
        self.child = child
        self.step = step
        self.until = until
        """When the step has lasted long enough."""
        self.found: Inspected | None = None


class _Inquiry:
    """One question to some workers, and the callers that wait for the answer."""

    def __init__(self, children: Sequence[Child], stacks: bool, answer: Receiver) -> None:
        self.children = sorted(children, key=lambda child: (child.slot, child.worker))
        self.stacks = stacks
        self.answers = [answer]
        self.began = 0.0
        self.looks: list[_Look] = []
        """Empty until it begins."""


class Inspector:
    """Asks one question after the other, because each worker has one file for its reports.

    ``signal`` makes the worker with this id write a report; the owner calls :meth:`attend` when a deadline has passed and when
    workers have said something.
    """

    def __init__(self, signal: Callable[[int], None]) -> None:
        self._signal = signal
        self._waiting: deque[_Inquiry] = deque()
        """The first is under way."""

    def ask(self, children: Sequence[Child], stacks: bool, answer: Receiver) -> bool:
        """Find out what ``children`` are doing; ``stacks``: not only their requests. :meth:`attend` calls ``answer``.

        Returns False, and calls nothing, if too many questions are open.
        """
        if sum(len(inquiry.answers) for inquiry in self._waiting) >= MAX_WAITING:
            return False
        ids = [child.worker for child in children]
        for inquiry in self._waiting:
            is_same = sorted(ids) == sorted(child.worker for child in inquiry.children)
            if not inquiry.looks and inquiry.stacks == stacks and is_same:
                inquiry.answers.append(answer)
                return True
        self._waiting.append(_Inquiry(children, stacks, answer))
        return True

    @property
    def is_idle(self) -> bool:
        """Whether no answer is waited for."""
        return not self._waiting

    def deadlines(self) -> list[float]:
        """When to call :meth:`attend`, in seconds of CLOCK_MONOTONIC; 0 means at once."""
        if not self._waiting:
            return []
        looks = self._waiting[0].looks
        return [look.until for look in looks if look.step in (_Step.ASKED, _Step.SIGNALLED)] or [0.0]

    def forget(self, worker: int) -> None:
        """The worker is gone: its file is closed."""
        for inquiry in self._waiting:
            inquiry.children = [child for child in inquiry.children if child.worker != worker]
            for look in inquiry.looks:
                if look.child.worker == worker:
                    look.step = _Step.GONE

    def attend(self, now: float) -> None:
        """Do what is due."""
        while self._waiting:
            inquiry = self._waiting[0]
            if not inquiry.looks:
                self._begin(inquiry, now)
            for look in inquiry.looks:
                self._advance(look, inquiry, now)
            if any(look.step in (_Step.ASKED, _Step.SIGNALLED) for look in inquiry.looks):
                return
            self._waiting.popleft()
            found = [look.found for look in inquiry.looks if look.found is not None]
            for answer in inquiry.answers:
                answer(found)

    def _begin(self, inquiry: _Inquiry, now: float) -> None:
        inquiry.began = now
        for child in inquiry.children:
            if now < child.is_writing_until:
                # A hang report is being written: there is no need for another.
                look = _Look(child, _Step.SIGNALLED, now + WRITING)
            elif child.ask_for_report(inquiry.stacks):
                look = _Look(child, _Step.ASKED, now + TURN)
            else:
                look = self._look_by_signal(child, now)
            inquiry.looks.append(look)

    def _look_by_signal(self, child: Child, now: float) -> _Look:
        self._signal(child.worker)
        return _Look(child, _Step.SIGNALLED, now + WRITING)

    def _advance(self, look: _Look, inquiry: _Inquiry, now: float) -> None:
        child = look.child
        if look.step is _Step.ASKED:
            if not child.owes_report:
                self._finish(look, inquiry)
            elif now >= look.until:
                look.step, look.until = _Step.SIGNALLED, now + WRITING
                self._signal(child.worker)
        elif look.step is _Step.SIGNALLED and now >= look.until:
            if child.has_written or now >= inquiry.began + LAST_LOOK:
                self._finish(look, inquiry)
            else:
                look.until = now + WRITING

    def _finish(self, look: _Look, inquiry: _Inquiry) -> None:
        look.step = _Step.DONE
        child = look.child
        report = child.read_report(min(REPORT_SHOWN, TEXT // len(inquiry.looks)))
        answered_by = "loop" if report.loop_turns else "signal"
        if not report.text and not report.loop_turns:
            answered_by, report = "nobody", Report(False, text=f"No answer: {describe_state(child.pid)}.")
        look.found = Inspected(child.worker, child.slot, child.pid, answered_by, report)


def describe_state(pid: int) -> str:
    """Why a process may not answer, from ``/proc``."""
    # Late, because few workers do not answer.
    from ..metrics.processes import stat_of

    return STATES.get("".join(stat_of(pid)[:1]), "it does not handle signals")
