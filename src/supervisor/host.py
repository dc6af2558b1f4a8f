"""Performs the fleet's actions and brings it facts: the only owner of pids and the only reader of the clock.

The supervisor has no threads and never imports the application; a child leaves its stack by ``os._exit`` alone.

What concerns one kind of process stands beside it: ``children.py`` (workers), ``sources.py`` (what they are forked from),
``auxiliary.py``, ``orphans.py``.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..config.identity import Identity
from ..config.options import Config
from ..ipc.channel import DRAIN_SIGNAL, LEVEL, REOPEN, encode
from ..ipc.handover import open_ends
from ..ipc.scoreboard import Scoreboard
from ..logs import setup as logs
from ..worker import main as worker_run
from ..worker.kept import KeptModules
from .answers import DONE, FAILED
from .auxiliary import Auxiliaries
from .child import describe_exit
from .children import Children
from .forker import Forker
from .life import live
from .messages import (
    Action,
    Answer,
    CallOff,
    CloseListeners,
    Drain,
    DrainBySignal,
    EndTemplate,
    Fact,
    Finish,
    GiveUp,
    Kill,
    Measure,
    Quit,
    ReopenLogs,
    ReportHang,
    Say,
    SetLevel,
    Spawn,
    StartTemplate,
    Unready,
)
from .orphans import Orphans
from .own_descriptors import OwnDescriptors
from .resources import MemorySampler
from .sources import Sources
from .spawner import Main, Spawner
from .terminal import Terminal
from .wakeup import Wakeup

if TYPE_CHECKING:
    from ..worker.forking import Heritage
    from .control.entrance import ControlEntrance
    from .origin import Origin

LAST_HOOKS = 5.0
"""Seconds that hooks get to finish when no worker is left."""


class Host:
    """The processes of one supervisor; a context manager. Must be made in the main thread, because it takes over the signals.

    ``listeners`` are handed to each worker, ``main`` is what a worker runs, ``development`` is the configuration if it asks for
    ``--reload``. ``origin`` is where the configuration comes from. When the process that holds the other end of ``parent``
    ends, that is an order to stop. All forked processes become ``identity``, and keep nothing of what is in ``own``.
    ``before`` is the :meth:`state` of the host that was in this process before an upgrade, with the configurations of its
    workers by generation: the new host adopts them.
    """

    def __init__(
        self,
        listeners: tuple[socket.socket, ...],
        main: Main = worker_run.main,
        sampler: MemorySampler | None = None,
        development: Config | None = None,
        origin: Origin | None = None,
        parent: socket.socket | None = None,
        identity: Identity | None = None,
        own: OwnDescriptors | None = None,
        before: tuple[Mapping[str, Any], Mapping[int, Config]] | None = None,
    ) -> None:
        self.code = 0
        self._end_by: float | None = None
        """Once no worker is left: until when auxiliaries may finish what they were told."""
        self._listeners = listeners
        self._sampler = sampler or MemorySampler()
        self._log = logging.getLogger("tricorn.error")
        state, configs = before or ({}, {})
        self.scoreboard = Scoreboard() if before is None else Scoreboard.restored(state["scoreboard"], state["rows"])
        self._handover = open_ends() if development else None
        """Idle connections go through it from a worker that leaves to the next. A worker listens on it as on a listener."""
        self._reaped: dict[int, Callable[[int], None]] = {}
        """What to call with the exit status of other processes, by pid."""
        self._pending: list[Fact] = []
        """Facts that came up while acting."""
        # What lives now lives as long as we do. Frozen, the collector does not touch it, so workers go on sharing its pages.
        gc.collect()
        gc.freeze()
        self._own = own or OwnDescriptors()
        self.wakeup = Wakeup(self._own, parent, state.get("wakeup"))
        self._control: ControlEntrance | None = None
        self._terminal = Terminal() if development else None
        self._orphans = Orphans()
        self._origin = origin
        self._main, forker = main, Forker(self.wakeup, self._own, identity)
        self.auxiliaries = Auxiliaries(self.wakeup, forker, self._end)
        self._spawner = Spawner(forker, main, listeners, self.scoreboard, self._handover)
        self.children = Children(self.wakeup, self._own, self.scoreboard, self._spawner, self.auxiliaries.learn)
        self.sources = self._make_sources(forker, development)
        if before is not None:
            self.children.restore(state, configs, self.now())
            self._orphans.restore(state["orphans"])
            self.auxiliaries.restore(state["auxiliaries"])

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another host needs to go on with the same processes, fit for JSON; ``give`` is told of each descriptor."""
        state = self.children.state(give)
        return {**state, "orphans": self._orphans.state(), "auxiliaries": self.auxiliaries.state(give)}

    @property
    def is_quiet(self) -> bool:
        """Whether the fleet was told all, and nobody waits for what workers say of themselves."""
        return not self._pending and self.children.inspector.is_idle and self.sources.is_quiet

    def call_when_reaped(self, pid: int, told: Callable[[int], None]) -> None:
        """Call ``told`` with the exit status (waitpid(2)) of a child that was forked just now and is no worker of ours."""
        self._reaped[pid] = told

    def _make_sources(self, forker: Forker, development: Config | None) -> Sources:
        told = self.children.take_in, self._tell, self._known
        sources = Sources(self._spawner, forker, self.wakeup, self._orphans, self._heritage, *told)
        if development is not None:
            sources.develop(development, self._origin, self.auxiliaries)
        return sources

    def _heritage(self) -> Heritage:
        """What workers inherit that a template forks."""
        # Late, because most supervisors have no template.
        from ..worker.forking import Heritage

        return Heritage(self._listeners, self.scoreboard, self._handover, self.modules, self._main, live)

    @property
    def modules(self) -> KeptModules:
        """What workers may import later; all of them have it."""
        return self._spawner.modules

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.auxiliaries.dismiss_all()
        self.sources.close()
        self._orphans.close()
        self.wakeup.close()
        self.children.close()
        for end in self._handover or ():
            end.close()
        gc.unfreeze()

    def attach(self, control: ControlEntrance) -> None:
        """From now on bring the fleet the orders of ``control``, and take it the answers."""
        self._control = control

    @property
    def finished(self) -> bool:
        """Whether no worker is left, and nothing is waited for any more."""
        is_any_ending = self.auxiliaries.is_any_finishing or self._orphans.is_any_ending
        return self._end_by is not None and (self._end_by <= self.now() or not is_any_ending)

    def now(self) -> float:
        """Seconds of CLOCK_MONOTONIC, the clock of the workers' beats, too."""
        return time.monotonic()

    def perform(self, action: Action) -> None:
        """Do what the fleet decided; never blocks."""
        PERFORM[type(action)](self, action)

    # -------------------------------------------------------------------------------------------------------------- wait

    def wait(self, until: float | None) -> list[Fact]:
        """Wait for facts, until the time ``until`` at most (None: for ever); returns them, with all beats that are new."""
        if self.finished:
            return []
        if not self._pending:
            # The fleet was told of the exits of these workers.
            self.children.forget_departed()
        # Only now, because it takes time, in which the workers start.
        self._orphans.adopt(self._known())
        self._orphans.attend(self.now())
        self.auxiliaries.attend(self.now())
        facts, self._pending = self._pending, []
        orders, speakers = self.wakeup.wait(0 if facts else self._timeout(until))
        facts += orders
        for speaker in speakers:
            if isinstance(speaker, int):
                facts += self.children.hear(speaker, self.now())
            elif isinstance(speaker, str):
                facts += self.auxiliaries.hear(speaker, self.now())
            elif isinstance(speaker, tuple):
                facts += self.sources.hear(speaker[1], self.now())
            else:
                self._serve_control(speaker.attend)
        if self._control is not None:
            facts += self._control.take_orders()
        # At every wake-up, not only after SIGCHLD: it costs one system call, and no lost signal can hide a death.
        facts += self._reap()
        self.sources.attend()
        facts += self.children.find_deaf(self.now())
        self._serve_control(self.children.inspector.attend)
        self.children.stalls.look(self.now())
        facts += self._sampler.sample(self.children.limits, self.now())
        pending, self._pending = self._pending, []
        return facts + pending + self.children.beats(self.now)

    def _serve_control(self, do: Callable[[float], None]) -> None:
        """Let a part of the control socket ``do`` what is due now: hear a client, or answer it."""
        with self._control.unharmed() if self._control is not None else nullcontext():
            do(self.now())

    def _timeout(self, until: float | None) -> float | None:
        now = self.now()
        times = [at for at in (until, self._sampler.next_deadline(bool(self.children.limits), now)) if at is not None]
        times += self.auxiliaries.deadlines() + self._orphans.deadlines()
        times += self.children.deadlines() + self.sources.deadlines(now)
        if self._end_by is not None:
            times.append(self._end_by)
        return max(0.0, min(times) - now) if times else None

    def _reap(self) -> list[Fact]:
        facts: list[Fact] = []
        children, has_left_orphans = self._orphans.look(), False
        dead = list(_reap_all())
        # A worker that is our child was named before: nobody must take it for an orphan.
        facts += self.sources.hear_asked(self.now(), (pid for pid, _ in dead))
        for pid, status in dead:
            self.sources.reaped(pid)
            child = self.children.with_pid(pid)
            if child is not None:
                facts += self.children.bury(child, status, self.now())
                if self._terminal is not None:
                    self._terminal.restore()
                has_left_orphans = has_left_orphans or status != 0 or child.is_cut_short
            else:
                has_left_orphans = self._orphans.reaped(pid) or has_left_orphans
                cause = describe_exit(status, lambda: False)
                facts += self.auxiliaries.exited(pid, self.now(), cause)
                facts += self.sources.exited(pid, cause, self.now())
                if (told := self._reaped.pop(pid, None)) is not None:
                    told(status)
            children.discard(pid)
        if has_left_orphans:
            self._orphans.end(self._known(), self.now())
        else:
            self._orphans.leave_alone(children, self._known())
        return facts

    def _known(self) -> set[int]:
        """The pids of workers, auxiliaries, templates, and others that we have forked."""
        workers = {child.pid for child in self.children.values()}
        return workers | self.auxiliaries.pids | self.sources.pids | self._reaped.keys()

    # --------------------------------------------------------------------------------------------------------------- act

    def _spawn(self, action: Spawn) -> None:
        if self._origin is not None:
            # The directory that we work in may have been deleted, and made again.
            self._origin.directory.enter_again_if_gone()
        self.children.expect(action.worker, action.slot)
        self.sources.spawn(action)

    def _tell(self, fact: Fact) -> None:
        """Tell the fleet that, soon."""
        self._pending.append(fact)

    def _start_template(self, action: StartTemplate) -> None:
        if self._origin is not None:
            self._origin.directory.enter_again_if_gone()
        self.sources.start(action, self.now())

    def _measure(self, action: Measure) -> None:
        self._pending.append(self.children.measure(action))

    def _reopen_logs(self, action: ReopenLogs) -> None:
        # We open them, because the workers may not be allowed to.
        files, errors = logs.reopen()
        self.auxiliaries.reopen_logs(files)
        message = encode(REOPEN, files=list(files))
        self.sources.reopen_logs(message, files)
        self.children.send_fds(message, list(files.values()))
        if action.ticket is not None:
            self._answer(
                Answer(action.ticket, FAILED, {"error": "\n".join(errors)}) if errors else Answer(action.ticket, DONE, {})
            )

    def _say(self, action: Say) -> None:
        if action.worker is None:
            self._log.log(action.level, "%s", action.text)
            return
        name, about = self.children.name(action.worker)
        self._log.log(action.level, "%s %s", name, action.text, extra=about)

    def _answer(self, action: Answer) -> None:
        if self._control is not None:
            self._control.answer(action, self.now())

    def _set_level(self, action: SetLevel) -> None:
        logs.choose_level(action.level)
        message = encode(LEVEL, level=action.level)
        self.children.send(message)
        self.auxiliaries.set_level(action.level)
        self.sources.tell_level(message)

    def _close_listeners(self, _: CloseListeners) -> None:
        # The workers take what waits in the queues before they close their listeners.
        for listener in self._listeners:
            listener.close()
        # These hold the listeners too; and nothing is reloaded any more.
        self.auxiliaries.dismiss_all(lasting=False)

    @staticmethod
    def _end(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _finish(self, action: Finish) -> None:
        self.code = action.code
        self._end_by = self.now() + LAST_HOOKS
        if action.at_once:
            self.auxiliaries.dismiss_all()
            self._orphans.close()


def _reap_all() -> Iterator[tuple[int, int]]:
    """All children that are dead: pid and status. As a subreaper, or as PID 1, we also get orphans that we never started."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


PERFORM: Mapping[type[Action], Callable[[Host, Any], None]] = {
    Spawn: Host._spawn,
    GiveUp: lambda host, action: host.sources.give_up(action, host.now()),
    StartTemplate: Host._start_template,
    EndTemplate: lambda host, action: host.sources.end(action),
    Unready: lambda host, action: host.children.unready(action),
    Drain: lambda host, action: host.children.drain(action),
    DrainBySignal: lambda host, action: host.children.signal(action.worker, DRAIN_SIGNAL),
    CallOff: lambda host, action: host.children.drain(Drain(action.worker, action.patient, action.hand_off)),
    Quit: lambda host, action: host.children.quit(action),
    ReportHang: lambda host, action: host.children.report_hang(action, host.now()),
    Kill: lambda host, action: host.children.kill(action),
    Measure: Host._measure,
    ReopenLogs: Host._reopen_logs,
    Say: Host._say,
    SetLevel: Host._set_level,
    Answer: Host._answer,
    CloseListeners: Host._close_listeners,
    Finish: Host._finish,
}
"""How each action is carried out."""
