"""Processes that are no workers but work for the supervisor. They may die at any time, and are made anew."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from ..ipc.channel import Message, Table, Violation
from ..worker.main import name_process
from .backoff import Backoff
from .jitter import chance
from .link import Link
from .messages import Fact
from .wakeup import Wakeup

logger = logging.getLogger("tricorn.error")

MOST_POSTED = 1000
"""Messages that wait for a process which does not read. Of more, the oldest are dropped, or the process is made anew."""

Fork = Callable[[socket.socket, Callable[[], int]], int]
"""Forks a process with a channel, of which our end is given, and a life; returns its pid. Raises OSError."""


class Companion(Protocol):
    """What one kind of companion does, in its own process and in the supervisor."""

    name: str
    """For the log."""
    wanted: bool
    """Whether there should be a process now."""
    lasting: bool
    """Whether it is needed until nobody is left, and opens log files again by itself; it must not hold the listeners."""
    says: Table
    """All that the process may say."""

    def main(self, link: socket.socket) -> int:
        """The process, from fork to exit code. It ends when ``link`` does."""

    def hear(self, message: Message) -> list[Fact]:
        """In the supervisor: what the fleet should know of what the process said."""

    def learn(self, message: Message) -> bytes | None:
        """In the supervisor: a worker says what the application imported (see worker/modules.py). What to tell the process."""

    def died(self, now: float) -> None:
        """In the supervisor: the process is gone, at the wall-clock time ``now``."""


class Attendance:
    """A companion with its process, or with the wait until there is one again."""

    def __init__(self, companion: Companion) -> None:
        self.companion = companion
        self.backoff = Backoff()
        self.pid: int | None = None
        """Of the process forked and not yet reaped."""
        self.link: Link | None = None
        self.outbox: deque[bytes] = deque(maxlen=MOST_POSTED)
        """What the process is to be told as soon as it can be."""

    @property
    def is_due(self) -> bool:
        return self.companion.wanted and self.pid is None

    @property
    def is_overfull(self) -> bool:
        return len(self.outbox) == MOST_POSTED

    @property
    def is_told(self) -> bool:
        """Whether the process has, or will find, all that it is to be told."""
        return not self.outbox and (self.link is None or self.link.is_sent)

    def deliver(self) -> None:
        """Pass on what is in the outbox, as far as the process takes it."""
        if self.link is not None and not self.link.is_sent:
            return
        while self.link is not None and self.outbox and self.link.send(self.outbox[0]):
            self.outbox.popleft()

    def close(self) -> None:
        if self.link is not None:
            self.link.close()
        self.link = None


def live(companion: Companion, link: socket.socket) -> int:
    name_process(f"tricorn: {companion.name}")
    return companion.main(link)


class Companions:
    """All companions of one host, whose ``fork`` and ``wakeup`` they use; ``kill`` ends a process, and reaps it."""

    def __init__(self, companions: Iterable[Companion], wakeup: Wakeup, fork: Fork, kill: Callable[[int], None]) -> None:
        self._all = {companion.name: Attendance(companion) for companion in companions}
        self._wakeup, self._fork, self._kill = wakeup, fork, kill
        self._retired: dict[int, Link] = {}
        """The links, by pid, to processes that are to end when they have done what they were told."""

    def __iter__(self) -> Iterator[Attendance]:
        return iter(self._all.values())

    @property
    def pids(self) -> set[int]:
        """Of all their processes, those included that are about to end."""
        return {attendance.pid for attendance in self if attendance.pid is not None} | self._retired.keys()

    def of(self, companion: Companion) -> Attendance:
        return self._all[companion.name]

    def deadlines(self) -> list[float]:
        """When :meth:`attend` has something to do."""
        return [attendance.backoff.until for attendance in self if attendance.is_due]

    def attend(self, now: float) -> None:
        """Fork those that are missing, and tell them what is to be told."""
        for attendance in self:
            if attendance.is_due and attendance.backoff.until <= now:
                self._try_to_start(attendance, now)
            attendance.deliver()

    def _try_to_start(self, attendance: Attendance, now: float) -> None:
        try:
            self._start(attendance)
        except OSError as error:
            attendance.backoff.failed(now, chance)
            logger.warning("The %s could not be forked: %s", attendance.companion.name, error)

    def _start(self, attendance: Attendance) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                attendance.pid = self._fork(ours, lambda: live(attendance.companion, theirs))
            except BaseException:
                ours.close()
                raise
        attendance.link = Link(ours, attendance.companion.says)
        self._wakeup.watch(ours, attendance.companion.name)

    def hear(self, name: str, now: float) -> list[Fact]:
        """What the companion ``name`` says; if that is what it must not say, its process is killed."""
        attendance = self._all[name]
        if attendance.link is None:
            return []
        try:
            messages = attendance.link.read(now)
        except Violation as violation:
            self.blame(attendance, f"wrote to the supervisor {violation}", now)
            return []
        if attendance.link.is_over:
            self._wakeup.forget(attendance.link.channel)
        return [fact for message in messages for fact in attendance.companion.hear(message)]

    def blame(self, attendance: Attendance, what: str, now: float) -> None:
        """Kill a process that did ``what`` it must not do; it is made anew after a while."""
        logger.warning("The %s %s; killed", attendance.companion.name, what)
        attendance.backoff.failed(now, chance)
        self.dismiss(attendance)

    def learn(self, messages: Iterable[Message], now: float) -> None:
        """A worker says what the application has imported."""
        for message in messages:
            for attendance in self:
                # Without a process there is nobody to tell: the next one is born with it.
                if (news := attendance.companion.learn(message)) is not None and attendance.link is not None:
                    attendance.outbox.append(news)
                    attendance.deliver()
                    if attendance.is_overfull:
                        self.blame(attendance, "does not read what it is told", now)

    def exited(self, pid: int, now: float, cause: str) -> list[Fact]:
        """If ``pid`` was a companion, make ready for the next one; returns its last words."""
        attendance = next((attendance for attendance in self if attendance.pid == pid), None)
        if (link := self._retired.pop(pid, None)) is not None:
            link.close()
        if attendance is None:
            return []
        last_words = attendance.link.read_last(now) if attendance.link is not None else []
        facts = [fact for message in last_words for fact in attendance.companion.hear(message)]
        self._forget(attendance)
        attendance.backoff.failed(now, chance)
        level = logging.DEBUG if cause == "exit code 0" else logging.WARNING
        logger.log(level, "The %s is gone (%s)", attendance.companion.name, cause)
        attendance.companion.died(time.time())
        return facts

    def dismiss(self, attendance: Attendance) -> None:
        """End the process; it is made anew if it is still wanted."""
        pid = attendance.pid
        self._forget(attendance)
        if pid is not None:
            self._kill(pid)
            attendance.companion.died(time.time())

    def dismiss_all(self, lasting: bool = True) -> None:
        """End all, for good; without ``lasting`` only those that are not needed until the end."""
        for attendance in self:
            if lasting or not attendance.companion.lasting:
                attendance.companion.wanted = False
                self.dismiss(attendance)
        while lasting and self._retired:
            pid, link = self._retired.popitem()
            link.close()
            logger.warning("Process %d has not finished what it was told to do; killed", pid)
            self._kill(pid)

    # ----------------------------------------------------------------------------------------- those that do as they are told

    @property
    def is_any_finishing(self) -> bool:
        """Whether a process that was told to end is still at what it was told before."""
        return bool(self._retired)

    def post(self, companion: Companion, message: bytes) -> None:
        """Tell the process, or the next one if there is none now."""
        if companion.wanted:
            self.of(companion).outbox.append(message)
            self.of(companion).deliver()

    def replace(self, companion: Companion, end: bytes) -> None:
        """Tell the process to ``end`` when it has done what it was told; there is going to be a new one if it is wanted."""
        attendance = self.of(companion)
        if attendance.pid is None or attendance.link is None:
            return
        attendance.outbox.append(end)
        attendance.deliver()
        if not attendance.is_told:
            # It does not listen.
            attendance.outbox.clear()
            self.dismiss(attendance)
            return
        # Not closed, for that would say that we are dead.
        self._retired[attendance.pid] = attendance.link
        self._wakeup.forget(attendance.link.channel)
        attendance.link = attendance.pid = None

    def bow_out(self, companion: Companion, end: bytes, now: float) -> None:
        """Let the process do what it was told, and ``end``, for good."""
        attendance = self.of(companion)
        if attendance.outbox and attendance.is_due:
            self._try_to_start(attendance, now)
            attendance.deliver()
        self.replace(companion, end)
        companion.wanted = False

    def leave_to_child(self) -> None:
        """In a process just forked: let go of the channels."""
        for attendance in self:
            attendance.close()
        for link in self._retired.values():
            link.close()

    def _forget(self, attendance: Attendance) -> None:
        if attendance.link is not None:
            self._wakeup.forget(attendance.link.channel)
        attendance.close()
        attendance.pid = None
        if not attendance.companion.lasting:
            # The next process is born with it.
            attendance.outbox.clear()
