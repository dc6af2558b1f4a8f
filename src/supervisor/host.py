"""Performs the fleet's actions and brings it facts: the only owner of pids and the only reader of the clock.

The supervisor has no threads and never imports the application; a child leaves its stack by ``os._exit`` alone.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from ..config.frozen import Value
from ..config.identity import Identity
from ..config.options import Config
from ..ipc.channel import DRAIN, DRAIN_SIGNAL, PROBE, REOPEN, UNREADY, encode
from ..ipc.scoreboard import Field, Scoreboard
from ..worker import main as worker_run
from .auxiliary import Companion, Companions
from .child import Child, describe_exit, open_autopsy
from .life import EXIT_BUG, flush_and_exit, live
from .messages import (
    Action,
    Beat,
    CallOff,
    CloseListeners,
    Deaf,
    Drain,
    DrainBySignal,
    Exited,
    Fact,
    Finish,
    Kill,
    Quit,
    ReopenLogs,
    ReportHang,
    Say,
    Spawn,
    Unready,
)
from .orphans import Orphans
from .resources import MemorySampler, OomKills
from .terminal import Terminal
from .wakeup import Wakeup

if TYPE_CHECKING:
    from .hook_observer import Hooking
    from .origin import Origin
    from .reload.template import Warming
    from .reload.watch_link import Watching

DEAF = 1.0
"""Seconds from the end of a worker's channel to that of its process, which follow each other within microseconds."""
LAST_HOOKS = 5.0
"""Seconds that hooks get to finish when nobody is left."""

Main = Callable[[Config, worker_run.Birth], int]


class Circumstances(Value):
    """What a process that is forked now starts with, beside the code on the disk."""

    config: Config
    environ: dict[str, str]
    directory: str
    files: tuple[str, ...]
    """Those that the configuration comes from."""


class Host:
    """The processes of one supervisor; a context manager. Must be made in the main thread, for it takes over the signals.

    ``listeners`` are handed to each worker, ``main`` is what a worker runs, ``development`` is the configuration if it asks for
    ``--reload``, ``hooking`` is told which workers exit. ``origin`` knows where the configuration comes from. The end of the
    process that holds the other end of ``parent`` is an order to stop. All that is forked becomes ``identity``.
    """

    def __init__(
        self,
        listeners: tuple[socket.socket, ...],
        main: Main = worker_run.main,
        sampler: MemorySampler | None = None,
        development: Config | None = None,
        hooking: Hooking | None = None,
        origin: Origin | None = None,
        parent: socket.socket | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.code = 0
        self._end_by: float | None = None
        """Once nobody is left: how long those who do as they are told may take."""
        self._listeners = listeners
        self._main = main
        self._identity = identity
        self._sampler = sampler or MemorySampler()
        self._log = logging.getLogger("tricorn.error")
        self._scoreboard = Scoreboard()
        self._oom = OomKills()
        self._children: dict[int, Child] = {}
        self._handover = worker_run.open_handover() if development else None
        """Through it idle connections go from a worker that leaves to the next; a worker listens on it as on a listener."""
        self._departed: dict[int, str] = {}
        """Names of the workers whose exits the fleet was told last, for what it says of them."""
        self._pending: list[Fact] = []
        """Facts that came up while acting."""
        self._perform: dict[type[Action], Callable[[Any], None]] = {
            Spawn: self._spawn,
            Unready: self._unready,
            Drain: self._drain,
            DrainBySignal: lambda action: self._signal(action.worker, DRAIN_SIGNAL),
            CallOff: lambda action: self._drain(Drain(action.worker, action.patient, action.hand_on)),
            Quit: self._quit,
            ReportHang: self._report_hang,
            Kill: self._kill,
            ReopenLogs: self._reopen_logs,
            Say: self._say,
            CloseListeners: self._close_listeners,
            Finish: self._finish,
        }
        # What lives now lives as long as we do. Frozen, the collector does not touch it, so workers go on sharing its pages.
        gc.collect()
        gc.freeze()
        self._wakeup = Wakeup(parent)
        self._terminal = Terminal() if development else None
        self._orphans = Orphans()
        self._origin = origin
        self._circumstances = self._look_around(development) if development else None
        """With ``--reload``: those in which the watcher and the template were made."""
        self._watching: Watching | None = None
        self._warming: Warming | None = None
        companions = self._make_companions(development) if development else []
        if hooking is not None:
            companions.append(hooking)
        self._companions = Companions(companions, self._wakeup, self._fork_process, self._end)
        self._hooking = hooking
        if hooking is not None:
            hooking.companions = self._companions

    def _make_companions(self, config: Config) -> list[Companion]:
        # Late, for production needs none of it.
        from ..worker.template import Heritage
        from .reload.template import Warming
        from .reload.watch_link import Watching

        self._watching = Watching(config, self._listeners, self._origin.files() if self._origin is not None else ())
        companions: list[Companion] = [self._watching]
        if config.reload_warm and self._orphans.adopt(set()):
            heritage = Heritage(self._listeners, self._scoreboard, self._handover, self._main, live)
            self._warming = Warming(config, heritage)
            companions.append(self._warming)
        return companions

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self._companions.dismiss_all()
        self._orphans.close()
        self._wakeup.close()
        for child in self._children.values():
            child.close()
        for end in self._handover or ():
            end.close()
        gc.unfreeze()

    @property
    def finished(self) -> bool:
        is_any_ending = self._companions.is_any_finishing or self._orphans.is_any_ending
        return self._end_by is not None and (self._end_by <= self.now() or not is_any_ending)

    def now(self) -> float:
        """Seconds of CLOCK_MONOTONIC, which the workers' beats are in, too."""
        return time.monotonic()

    def perform(self, action: Action) -> None:
        """Do what the fleet decided; never blocks."""
        self._perform[type(action)](action)

    # -------------------------------------------------------------------------------------------------------------- wait

    def wait(self, until: float | None) -> list[Fact]:
        """Wait for facts, but no longer than ``until`` (for ever if None); at the end tell all beats that are new."""
        if self.finished:
            return []
        if not self._pending:
            # The fleet has heard of those whose names these are.
            self._departed.clear()
        # Not before, for it takes time, in which the workers start.
        self._orphans.adopt(self._known())
        self._orphans.attend(self.now())
        self._companions.attend(self.now())
        facts, self._pending = self._pending, []
        orders, speakers = self._wakeup.wait(0 if facts else self._timeout(until))
        facts += orders
        for speaker in speakers:
            if isinstance(speaker, int):
                facts += self._hear(self._children[speaker])
            else:
                facts += self._companions.hear(speaker, self.now())
        # At every wake-up, not only upon SIGCHLD: one system call, and no lost signal can hide a death.
        facts += self._reap()
        facts += self._find_deaf()
        limits = {
            child.worker: (child.pid, limit) for child in self._children.values() if (limit := child.config.limit_max_rss)
        }
        facts += self._sampler.sample(limits, self.now())
        return facts + self._beats()

    def _timeout(self, until: float | None) -> float | None:
        now = self.now()
        limited = any(child.config.limit_max_rss for child in self._children.values())
        times = [at for at in (until, self._sampler.next_deadline(limited, now)) if at is not None]
        times += self._companions.deadlines() + self._orphans.deadlines()
        times += [child.deaf_at for child in self._children.values() if child.deaf_at is not None]
        if self._end_by is not None:
            times.append(self._end_by)
        return max(0.0, min(times) - now) if times else None

    def _hear(self, child: Child) -> list[Fact]:
        facts = child.read(self.now())
        if child.link.is_over:
            self._wakeup.forget(child.link.channel)
            child.deaf_at = self.now() + DEAF
        self._companions.learn(child.loaded, self.now())
        child.loaded.clear()
        return [*facts]

    def _find_deaf(self) -> list[Fact]:
        facts: list[Fact] = []
        for child in self._children.values():
            if child.deaf_at is not None and child.deaf_at <= self.now():
                child.deaf_at = None
                facts.append(Deaf(child.worker))
        return facts

    def _reap(self) -> list[Fact]:
        facts: list[Fact] = []
        children, has_left_orphans = self._orphans.look(), False
        for pid, status in _reap_all():
            child = next((child for child in self._children.values() if child.pid == pid), None)
            if child is not None:
                # What it said before it died comes first: the reason why it could not start.
                facts += child.read_last(self.now())
                cause = describe_exit(status, self._oom.take)
                facts.append(Exited(child.worker, cause))
                self._bury(child)
                has_left_orphans = has_left_orphans or status != 0 or child.is_cut_short
                if self._hooking is not None:
                    self._hooking.exited(child, os.waitstatus_to_exitcode(status), cause)
            else:
                has_left_orphans = self._orphans.reaped(pid) or has_left_orphans
                facts += self._companions.exited(pid, self.now(), describe_exit(status, lambda: False))
            children.discard(pid)
        if has_left_orphans:
            self._orphans.end(self._known(), self.now())
        else:
            self._orphans.leave_alone(children, self._known())
        return facts

    def _known(self) -> set[int]:
        """The pids of workers and companions."""
        return {child.pid for child in self._children.values()} | self._companions.pids

    def _bury(self, child: Child) -> None:
        self._departed[child.worker] = child.name
        self._wakeup.forget(child.link.channel)
        self._scoreboard.release(child.row)
        child.close()
        del self._children[child.worker]
        if self._terminal is not None:
            self._terminal.restore()

    def _beats(self) -> list[Fact]:
        facts: list[Fact] = []
        beats = [(child, self._scoreboard.row(child.row)[Field.BEAT]) for child in self._children.values()]
        now = self.now()
        for child, beat in beats:
            # What is no time, or lies in the future, is no beat: a worker's row can be written by all workers.
            if child.beat < beat <= now:
                child.beat = beat
                facts.append(Beat(child.worker, beat))
        return facts

    # --------------------------------------------------------------------------------------------------------------- act

    def _drain(self, action: Drain) -> None:
        child = self._children.get(action.worker)
        if child is not None and not child.tell(DRAIN, patient=action.patient, hand_on=action.hand_on):
            self._signal(action.worker, DRAIN_SIGNAL)

    def _unready(self, action: Unready) -> None:
        child = self._children.get(action.worker)
        if child is not None:
            child.tell(UNREADY)

    def _report_hang(self, action: ReportHang) -> None:
        child = self._children.get(action.worker)
        if child is not None:
            child.begin_autopsy()
            # Its row in the scoreboard may have been spoilt by another worker: what it says itself counts, too.
            child.tell(PROBE)
            self._signal(action.worker, worker_run.AUTOPSY_SIGNAL)

    def _quit(self, action: Quit) -> None:
        child = self._children.get(action.worker)
        if child is not None:
            child.is_cut_short = True
            self._signal(action.worker, signal.SIGQUIT)

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
        # We open them, for the workers may not be allowed to.
        files = worker_run.reopen_logs()
        self._renew_companions(files)
        for child in self._children.values():
            child.link.send_fds(encode(REOPEN, files=list(files)), list(files.values()))

    def _say(self, action: Say) -> None:
        if action.worker is None:
            self._log.log(action.level, "%s", action.text)
            return
        child = self._children.get(action.worker)
        name = child.name if child is not None else self._departed.get(action.worker, "Worker")
        self._log.log(action.level, "%s %s", name, action.text)

    def _renew_companions(self, files: Mapping[str, int]) -> None:
        """Let those who have the old log files open have the new ones, or be made anew."""
        for attendance in self._companions:
            if not attendance.companion.lasting:
                self._companions.dismiss(attendance)
            elif attendance.link is not None:
                attendance.link.send_fds(encode(REOPEN, files=list(files)), list(files.values()))

    def _close_listeners(self, _: CloseListeners) -> None:
        # The workers take what waits in the queues before they close theirs.
        for listener in self._listeners:
            listener.close()
        # They hold the listeners too; and nothing is reloaded any more.
        self._companions.dismiss_all(lasting=False)

    @staticmethod
    def _end(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _finish(self, action: Finish) -> None:
        self.code = action.code
        self._end_by = self.now() + LAST_HOOKS
        if action.at_once:
            self._companions.dismiss_all()
            self._orphans.close()

    # -------------------------------------------------------------------------------------------------------------- fork

    def _spawn(self, action: Spawn) -> None:
        self._find_directory()
        if self._circumstances is not None and (now := self._look_around(action.config)) != self._circumstances:
            self._circumstances = now
            self._renew_developers_companions(now)
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
        self._wakeup.watch(child.link.channel, child.worker)

    def _find_directory(self) -> None:
        """The one that we work in may have been deleted, and made again."""
        if self._origin is not None:
            self._origin.directory.enter_again_if_gone()

    def _look_around(self, config: Config) -> Circumstances:
        try:
            directory = os.getcwd()
        except OSError:
            directory = ""
        return Circumstances(config, dict(os.environ), directory, self._origin.files() if self._origin is not None else ())

    def _renew_developers_companions(self, now: Circumstances) -> None:
        """Make the watcher and the template anew, for they still have the settings and the environment from before."""
        if self._watching is not None:
            self._companions.dismiss(self._companions.of(self._watching))
            self._watching.renew(now.config, now.files, time.time())
        if self._warming is not None:
            self._companions.dismiss(self._companions.of(self._warming))
            self._warming.config = now.config

    def _fork(self, action: Spawn, undo: ExitStack) -> Child:
        """Fork; what was opened for it is on ``undo``. Raises OSError, or IndexError when all rows are lent."""
        row = self._scoreboard.claim()
        undo.callback(self._scoreboard.release, row)
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        with theirs:
            autopsy = undo.enter_context(open_autopsy())
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
            pid = self._fork_warm(birth) or self._fork_process(ours, lambda: self._be_worker(action.config, birth))
        return Child(action.worker, action.slot, action.generation, pid, row, action.config, ours, autopsy)

    def _fork_warm(self, birth: worker_run.Birth) -> int | None:
        """Let the template fork the worker, if there is one; returns the pid. Raises OSError if it fails."""
        if self._warming is None or not self._warming.is_warm:
            return None
        template = self._companions.of(self._warming)
        if template.link is None:
            return None
        details = {"id": birth.id, "slot": birth.slot, "generation": birth.generation, "row": birth.row}
        try:
            return self._warming.fork(template.link, details, [birth.channel.fileno(), birth.autopsy])
        except OSError:
            # Perhaps it has forked and could not say so. That worker finds its channel closed and leaves; the fleet tries anew.
            self._companions.dismiss(template)
            raise

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
                self._leave(ours, life)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return pid

    def _leave(self, ours: socket.socket, life: Callable[[], int]) -> NoReturn:
        """The child's whole life; never returns into the supervisor's stack."""
        try:
            self._wakeup.leave_to_worker()
            # The lifeline works only if nobody but the supervisor holds its ends of the channels.
            ours.close()
            for child in self._children.values():
                child.close()
            self._companions.leave_to_child()
            if self._identity is not None:
                self._identity.become()
            # What the supervisor wants done at its exit is none of the child's business.
            atexit._clear()
            # Applications, and what they start, rely on a mask without blocked signals, whatever our parent has blocked.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        except BaseException:
            traceback.print_exc()
            flush_and_exit(EXIT_BUG)
        live(life)


def _reap_all() -> Iterator[tuple[int, int]]:
    """All children that are dead: pid and status. As subreaper, or as PID 1, we get orphans that we never started."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status
