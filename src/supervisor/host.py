"""Performs the fleet's actions and brings it facts: the only owner of pids and the only reader of the clock.

The supervisor has no threads and never imports the application; a child leaves its stack by ``os._exit`` alone.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NoReturn

from ..config import Config
from ..worker import run as worker_run
from ..worker.channel import DRAIN, UNREADY, Decoder
from ..worker.scoreboard import Field, Scoreboard
from .child import Child, describe_exit, open_autopsy, receive
from .companion import Attendance, Companion
from .messages import (
    Action,
    Autopsy,
    Beat,
    CloseListeners,
    Drain,
    Exited,
    Fact,
    Finish,
    Kill,
    Quit,
    ReopenLogs,
    Say,
    Spawn,
    Unready,
)
from .resources import MemorySampler, OomKills
from .wakeup import Wakeup

EXIT_BUG = 70
"""Exit code of a worker whose own code raised (EX_SOFTWARE of sysexits.h)."""

Main = Callable[[Config, worker_run.Birth], int]


class Host:
    """The processes of one supervisor; a context manager. Must be made in the main thread, for it takes over the signals.

    ``listeners`` are handed to each worker, ``main`` is what a worker runs, ``companions`` are processes beside the workers.
    """

    def __init__(
        self,
        listeners: tuple[socket.socket, ...],
        main: Main = worker_run.main,
        sampler: MemorySampler | None = None,
        companions: Sequence[Companion] = (),
    ) -> None:
        self.finished = False
        self.code = 0
        self._listeners = listeners
        self._main = main
        self._sampler = sampler or MemorySampler()
        self._log = logging.getLogger("tricorn.error")
        self._scoreboard = Scoreboard()
        self._oom = OomKills()
        self._children: dict[int, Child] = {}
        self._attendances = {companion.name: Attendance(companion) for companion in companions}
        self._handover = worker_run.open_handover() if companions else None
        """Through it idle connections go from a worker that leaves to the next; a worker listens on it as on a listener."""
        self._departed: dict[int, str] = {}
        """Names of the workers whose exits the fleet was told last, for what it says of them."""
        self._pending: list[Fact] = []
        """Facts that came up while acting."""
        self._perform: dict[type[Action], Callable[[Any], None]] = {
            Spawn: self._spawn,
            Unready: self._unready,
            Drain: self._drain,
            Quit: lambda action: self._signal(action.worker, signal.SIGQUIT),
            Autopsy: self._autopsy,
            Kill: self._kill,
            ReopenLogs: self._reopen_logs,
            Say: self._say,
            CloseListeners: self._close_listeners,
            Finish: self._finish,
        }
        # What lives now lives as long as we do. Frozen, the collector does not touch it, so workers go on sharing its pages.
        gc.collect()
        gc.freeze()
        self._wakeup = Wakeup()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        for attendance in self._attendances.values():
            self._dismiss(attendance)
        self._wakeup.close()
        for child in self._children.values():
            child.close()
        for end in self._handover or ():
            end.close()
        gc.unfreeze()

    def now(self) -> float:
        """Seconds of CLOCK_MONOTONIC, which the workers' beats are in, too."""
        return time.monotonic()

    def perform(self, action: Action) -> None:
        """Do what the fleet decided; never blocks."""
        self._perform[type(action)](action)

    # -------------------------------------------------------------------------------------------------------------- wait

    def wait(self, until: float | None) -> list[Fact]:
        """Wait for facts, but no longer than ``until`` (for ever if None); at the end tell all beats that are new."""
        self._departed.clear()
        if self.finished:
            return []
        self._attend()
        facts, self._pending = self._pending, []
        orders, speakers = self._wakeup.wait(0 if facts else self._timeout(until))
        facts += orders
        for speaker in speakers:
            if isinstance(speaker, int):
                facts += self._hear(self._children[speaker])
            else:
                facts += self._hear_companion(self._attendances[speaker])
        # At every wake-up, not only upon SIGCHLD: one system call, and no lost signal can hide a death.
        facts += self._reap()
        limits = {
            child.worker: (child.pid, limit) for child in self._children.values() if (limit := child.config.limit_max_rss)
        }
        facts += self._sampler.sample(limits, self.now())
        return facts + self._beats()

    def _timeout(self, until: float | None) -> float | None:
        now = self.now()
        limited = any(child.config.limit_max_rss for child in self._children.values())
        times = [at for at in (until, self._sampler.next_deadline(limited, now)) if at is not None]
        times += [attendance.backoff.until for attendance in self._attendances.values() if attendance.is_due]
        return max(0.0, min(times) - now) if times else None

    def _hear(self, child: Child) -> list[Fact]:
        facts, closed = child.read()
        if closed:
            self._wakeup.forget(child.channel)
        for message in child.loaded:
            for attendance in self._attendances.values():
                if (news := attendance.companion.learn(message)) is not None:
                    attendance.tell(news)
        child.loaded.clear()
        return [*facts]

    def _reap(self) -> list[Fact]:
        facts: list[Fact] = []
        by_pid = {child.pid: child for child in self._children.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return facts
            if pid == 0:
                return facts
            self._part_with(pid, status)
            child = by_pid.get(pid)
            # As PID 1 we get orphans that we never started; that they are reaped is all they need.
            if child is not None:
                # What it said before it died comes first: the reason why it could not start.
                facts += self._hear(child)
                facts.append(Exited(child.worker, describe_exit(status, self._oom.take)))
                self._bury(child)

    def _bury(self, child: Child) -> None:
        self._departed[child.worker] = child.name
        self._wakeup.forget(child.channel)
        self._scoreboard.release(child.row)
        child.close()
        del self._children[child.worker]

    def _beats(self) -> list[Fact]:
        facts: list[Fact] = []
        for child in self._children.values():
            beat = self._scoreboard.row(child.row)[Field.BEAT]
            if beat != child.beat:
                child.beat = beat
                facts.append(Beat(child.worker, beat))
        return facts

    # --------------------------------------------------------------------------------------------------------------- act

    def _drain(self, action: Drain) -> None:
        child = self._children.get(action.worker)
        if child is not None and not child.tell(DRAIN, patient=action.patient, hand_on=action.hand_on):
            self._signal(action.worker, signal.SIGTERM)

    def _unready(self, action: Unready) -> None:
        child = self._children.get(action.worker)
        if child is not None:
            child.tell(UNREADY)

    def _autopsy(self, action: Autopsy) -> None:
        child = self._children.get(action.worker)
        if child is not None:
            child.begin_autopsy()
            self._signal(action.worker, worker_run.AUTOPSY_SIGNAL)

    def _kill(self, action: Kill) -> None:
        child = self._children.get(action.worker)
        if child is None:
            return
        stacks = child.read_autopsy()
        # A process stopped by SIGSTOP dies of SIGKILL all the same.
        self._signal(action.worker, signal.SIGKILL)
        if stacks:
            self._log.error("%s, what it was doing:\n%s", child.name, stacks)

    def _signal(self, worker: int, number: int) -> None:
        child = self._children.get(worker)
        if child is not None:
            # Not reaped yet, so at worst a zombie: the pid can't be somebody else's.
            os.kill(child.pid, number)

    def _reopen_logs(self, _: ReopenLogs) -> None:
        for worker in self._children:
            self._signal(worker, signal.SIGUSR1)
        for name in ("tricorn.error", "tricorn", ""):
            for handler in logging.getLogger(name).handlers:
                if isinstance(handler, logging.FileHandler):
                    # The next record opens it again.
                    handler.close()

    def _say(self, action: Say) -> None:
        if action.worker is None:
            self._log.log(action.level, "%s", action.text)
            return
        child = self._children.get(action.worker)
        name = child.name if child is not None else self._departed.get(action.worker, "Worker")
        self._log.log(action.level, "%s %s", name, action.text)

    def _close_listeners(self, _: CloseListeners) -> None:
        # The workers take what waits in the queues before they close theirs.
        for listener in self._listeners:
            listener.close()
        # They hold the listeners too; and nothing is reloaded any more.
        for attendance in self._attendances.values():
            attendance.companion.wanted = False
            self._dismiss(attendance)

    def _finish(self, action: Finish) -> None:
        self.finished, self.code = True, action.code

    # -------------------------------------------------------------------------------------------------------------- fork

    def _spawn(self, action: Spawn) -> None:
        try:
            with ExitStack() as undo:
                child = self._fork(action, undo)
                undo.pop_all()
        except (OSError, IndexError) as error:
            # No process, memory or descriptor left: to the fleet a worker that died at once, tried again after a while.
            self._pending.append(Exited(action.worker, f"could not be forked: {error}"))
            self._departed[action.worker] = f"Worker {action.slot}"
            return
        self._children[action.worker] = child
        self._wakeup.watch(child.channel, child.worker)

    def _fork(self, action: Spawn, undo: ExitStack) -> Child:
        """Fork; what was opened for it is on ``undo``. Raises OSError, or IndexError when all rows are lent."""
        row = self._scoreboard.claim()
        undo.callback(self._scoreboard.release, row)
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        with theirs:
            autopsy = undo.enter_context(open_autopsy())
            ours.setblocking(False)
            birth = worker_run.Birth(
                id=action.worker,
                slot=action.slot,
                generation=action.generation,
                channel=theirs,
                listeners=self._listeners,
                scoreboard=self._scoreboard,
                row=row,
                autopsy=autopsy.fileno(),
                handover=self._handover,
            )
            pid = self._fork_process(ours, lambda: self._be_worker(action.config, birth))
        return Child(action.worker, action.slot, pid, row, action.config, ours, autopsy)

    def _be_worker(self, config: Config, birth: worker_run.Birth) -> int:
        os.environ["TRICORN_SLOT"] = str(birth.slot)
        return self._main(config, birth)

    def _fork_process(self, ours: socket.socket, life: Callable[[], int]) -> int:
        """Fork a process that lives ``life``, with a channel of which ``ours`` is our end; returns its pid. Raises OSError."""
        # What is still buffered would be written by the child once more.
        sys.stdout.flush()
        sys.stderr.flush()
        # No signal may meet the child while it still looks like the supervisor.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._leave(ours, life, unblocked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return pid

    def _leave(self, ours: socket.socket, life: Callable[[], int], unblocked: set[Any]) -> NoReturn:
        """The child's whole life; never returns into the supervisor's stack."""
        code = EXIT_BUG
        try:
            self._wakeup.leave_to_worker()
            # The lifeline works only if nobody but the supervisor holds its ends of the channels.
            ours.close()
            for child in self._children.values():
                child.close()
            for attendance in self._attendances.values():
                attendance.close()
            # What the supervisor wants done at its exit is none of the child's business.
            atexit._clear()
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            code = life()
        except BaseException:
            traceback.print_exc()
        finally:
            _flush_and_exit(code)

    # -------------------------------------------------------------------------------------------------------- companions

    def _attend(self) -> None:
        """Fork the companions that are missing."""
        for attendance in self._attendances.values():
            if attendance.is_due and attendance.backoff.until <= self.now():
                try:
                    self._fork_companion(attendance)
                except OSError as error:
                    attendance.backoff.crashed(self.now(), random.random)
                    self._log.warning("The %s could not be forked: %s", attendance.companion.name, error)

    def _fork_companion(self, attendance: Attendance) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                attendance.pid = self._fork_process(ours, lambda: attendance.companion.main(theirs))
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        attendance.channel, attendance.decoder = ours, Decoder()
        self._wakeup.watch(ours, attendance.companion.name)

    def _hear_companion(self, attendance: Attendance) -> list[Fact]:
        if attendance.channel is None:
            return []
        messages, closed = receive(attendance.channel, attendance.decoder)
        if closed:
            self._wakeup.forget(attendance.channel)
        return [fact for message in messages for fact in attendance.companion.hear(message)]

    def _part_with(self, pid: int, status: int) -> None:
        """If ``pid`` was a companion, make ready for the next one."""
        for attendance in self._attendances.values():
            if attendance.pid != pid:
                continue
            assert attendance.channel is not None
            self._pending += self._hear_companion(attendance)
            self._wakeup.forget(attendance.channel)
            attendance.close()
            attendance.pid = None
            attendance.backoff.crashed(self.now(), random.random)
            name = attendance.companion.name
            self._log.warning("The %s is gone (%s) and will be replaced", name, describe_exit(status, self._oom.take))
            attendance.companion.died(time.time())

    def _dismiss(self, attendance: Attendance) -> None:
        if attendance.channel is not None:
            self._wakeup.forget(attendance.channel)
        attendance.close()
        if attendance.pid is not None:
            os.kill(attendance.pid, signal.SIGKILL)
            os.waitpid(attendance.pid, 0)
            attendance.pid = None


def _flush_and_exit(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
