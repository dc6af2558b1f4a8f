"""The processes of all workers: what they say and show, what they are told, and what is left of them when they are gone."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from ..config.options import Config
from ..ipc.channel import DRAIN, DRAIN_SIGNAL, UNREADY
from ..ipc.counts import Counts
from ..ipc.scoreboard import Field, Scoreboard
from ..worker import main as worker_run
from .auxiliary import WORKER_EXIT
from .canary_meter import CanaryMeter
from .child import Child, describe_exit
from .inspector import Inspector
from .messages import Beat, Deaf, Drain, Exited, Fact, Kill, Measure, Quit, ReportHang, Unready
from .own_descriptors import OwnDescriptors
from .resources import OomKills
from .spawner import Spawner
from .stalls import StallWatch
from .wakeup import Wakeup

logger = logging.getLogger("tricorn.error")

DEAF = 1.0
"""Seconds from the end of a worker's channel to the end of its process; normally microseconds lie between them."""


class Children(dict[int, Child]):
    """Each worker's process by the worker's id, from its fork until it is reaped.

    ``news`` gets what workers have imported, and that they are gone, for the auxiliaries.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        own: OwnDescriptors,
        scoreboard: Scoreboard,
        spawner: Spawner,
        news: Callable[[list[dict[str, Any]], float], None],
    ) -> None:
        super().__init__()
        self._wakeup, self._own, self._spawner, self._news = wakeup, own, spawner, news
        self.scoreboard = scoreboard
        self.stalls = StallWatch(scoreboard, self.signal)
        self.inspector = Inspector(lambda worker: self.signal(worker, worker_run.HANG_REPORT_SIGNAL))
        self._oom = OomKills()
        self._meter = CanaryMeter(scoreboard.counts, self.counted_by)
        self._departed: dict[int, str] = {}
        """Names of those whose exits the fleet was told last. What the fleet says of them comes later than that."""

    # --------------------------------------------------------------------------------------------------------- handing over

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another supervisor needs to go on with them, fit for JSON; ``give`` is told of each descriptor."""
        return {
            "scoreboard": self.scoreboard.state(give),
            "rows": [child.row for child in self.values()],
            "workers": [child.state(give) for child in self.values()],
            "oom_kills": self._oom.known,
            "departed": self._spawner.state(),
        }

    def restore(self, state: Mapping[str, Any], configs: Mapping[int, Config], now: float) -> None:
        """Go on from this :meth:`state`; ``configs`` by generation."""
        for one in state["workers"]:
            child = self[one["worker"]] = Child.restored(one, configs[one["generation"]])
            for opened in (child.link.channel, child.hang_report, child.stalls):
                self._own.keep(opened)
            if not child.link.is_over:
                self._wakeup.watch(child.link.channel, child.worker)
            self.stalls.look_soon(child, now)
        self._oom.known = state["oom_kills"]
        self._spawner.restore(state["departed"])

    def close(self) -> None:
        """Close what the supervisor holds of them."""
        for child in self.values():
            self._spawner.close(child)

    # ------------------------------------------------------------------------------------------------------------ from them

    def take_in(self, child: Child) -> None:
        """A worker is there."""
        self[child.worker] = child
        self._wakeup.watch(child.link.channel, child.worker)

    def hear(self, worker: int, now: float) -> list[Fact]:
        """What the worker has said."""
        child = self[worker]
        facts = child.read(now)
        if child.link.is_over:
            self._wakeup.forget(child.link.channel)
            child.deaf_at = now + DEAF
        self._news(child.loaded, now)
        child.loaded.clear()
        self.stalls.hear(child, child.turns, now)
        child.turns.clear()
        return [*facts]

    def find_deaf(self, now: float) -> list[Fact]:
        """Those that have closed their channels, and live on."""
        facts: list[Fact] = []
        for child in self.values():
            if child.deaf_at is not None and child.deaf_at <= now:
                child.deaf_at = None
                facts.append(Deaf(child.worker))
        return facts

    def beats(self, clock: Callable[[], float]) -> list[Fact]:
        """All beats that are new by ``clock``."""
        facts: list[Fact] = []
        beats = [(child, self.scoreboard.row(child.row)[Field.BEAT]) for child in self.values()]
        now = clock()
        for child, beat in beats:
            # A beat that is no number, or lies in the future, does not count: any worker can write to a worker's row.
            if child.beat < beat <= now:
                child.beat = beat
                facts.append(Beat(child.worker, beat))
        return facts

    def deadlines(self) -> list[float]:
        """When there is something to do, also if nobody says anything."""
        deaf = [child.deaf_at for child in self.values() if child.deaf_at is not None]
        return deaf + self.inspector.deadlines() + self.stalls.deadlines()

    def with_pid(self, pid: int) -> Child | None:
        """The one with this pid."""
        return next((child for child in self.values() if child.pid == pid), None)

    @property
    def limits(self) -> dict[int, tuple[int, int]]:
        """By worker, pid and ``--limit-max-rss`` of those that have such a limit."""
        return {child.worker: (child.pid, limit) for child in self.values() if (limit := child.config.limit_max_rss)}

    def bury(self, child: Child, status: int, now: float) -> list[Fact]:
        """A worker is gone with ``status`` (waitpid(2)): returns what it said last, and its exit."""
        # What it said before it died comes first: the reason why it could not start.
        facts: list[Fact] = [*child.read_last(now)]
        cause = describe_exit(status, self._oom.take)
        if os.WIFSIGNALED(status) and (stacks := child.read_crash()):
            logger.error("%s, where it crashed:\n%s", child.name, stacks)
        facts.append(Exited(child.worker, cause))
        self._departed[child.worker] = child.name
        self._wakeup.forget(child.link.channel)
        self.stalls.forget(child)
        del self[child.worker]
        self.inspector.forget(child.worker)
        self._spawner.bury(child)
        code = os.waitstatus_to_exitcode(status)
        details = {"slot": child.slot, "pid": child.pid, "generation": child.generation, "exit_code": code, "cause": cause}
        self._news([{"kind": WORKER_EXIT, **details}], now)
        return facts

    def counted_by(self, generation: int) -> Counts:
        """What all workers of ``generation`` counted so far: responses by status and duration, bytes, messages."""
        return self._spawner.counted_by(generation, self.values())

    def measure(self, action: Measure) -> Fact:
        """The evidence for or against a canary."""
        return self._meter.measure(action, self.values())

    # ---------------------------------------------------------------------------------------------------------------- names

    def name(self, worker: int) -> tuple[str, dict[str, int]]:
        """How the log names a worker, also one that has just gone; and what logs in JSON say of it."""
        child = self.get(worker)
        if child is None:
            return self._departed.get(worker, "Worker"), {}
        return child.name, {"slot": child.slot, "worker_pid": child.pid}

    def expect(self, worker: int, slot: int) -> None:
        """A worker is about to be forked. If it can't be, the fleet will speak of it."""
        self._departed[worker] = f"Worker {slot}"

    def forget_departed(self) -> None:
        """The fleet was told of all exits, and has said what it had to say of them."""
        self._departed.clear()

    # -------------------------------------------------------------------------------------------------------------- to them

    def signal(self, worker: int, number: int | None) -> None:
        """Send the signal ``number``, if this system has it."""
        child = self.get(worker)
        if child is not None and number is not None:
            # Not reaped yet, so at worst a zombie: no other process can have this pid.
            os.kill(child.pid, number)

    def send(self, message: bytes) -> None:
        """Tell all of them."""
        for child in self.values():
            child.link.send(message)

    def send_fds(self, message: bytes, descriptors: list[int]) -> None:
        """Tell all of them, and pass on descriptors."""
        for child in self.values():
            child.link.send_fds(message, descriptors)

    def unready(self, action: Unready) -> None:
        """A stop is coming: tell it."""
        child = self.get(action.worker)
        if child is not None:
            child.tell(UNREADY)

    def drain(self, action: Drain) -> None:
        """Order it to drain, by its channel or, if that is full or closed, by a signal."""
        child = self.get(action.worker)
        if child is not None and not child.tell(DRAIN, patient=action.patient, hand_off=action.hand_off):
            self.signal(action.worker, DRAIN_SIGNAL)

    def report_hang(self, action: ReportHang, now: float) -> None:
        """Let it write down what it does."""
        child = self.get(action.worker)
        if child is not None:
            child.begin_hang_report(now)
            # Another worker may have spoilt its row in the scoreboard: what it says itself counts, too.
            child.probe()
            self.signal(action.worker, worker_run.HANG_REPORT_SIGNAL)

    def quit(self, action: Quit) -> None:
        """Let it exit at once."""
        child = self.get(action.worker)
        if child is not None:
            child.is_cut_short = True
            self.signal(action.worker, signal.SIGQUIT)

    def kill(self, action: Kill) -> None:
        """Kill it, and log what it was doing, if it has said so."""
        child = self.get(action.worker)
        if child is None:
            return
        stacks = child.read_hang_report()
        # A process stopped by SIGSTOP dies of SIGKILL all the same.
        self.signal(action.worker, signal.SIGKILL)
        if stacks:
            logger.error("%s, what it was doing:\n%s", child.name, stacks)
