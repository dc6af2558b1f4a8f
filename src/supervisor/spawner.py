"""Makes workers: a process, a channel, a row of the scoreboard and files for reports each."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from ..config.options import Config
from ..ipc import begun
from ..ipc.counts import Counts
from ..ipc.handover import Ends
from ..ipc.scoreboard import Scoreboard
from ..worker import main as worker_run
from ..worker.kept import KeptModules
from .child import STALLS_SIZE, Child
from .forker import Forker
from .messages import Spawn
from .report_file import ReportFile

KEPT_GENERATIONS = 4
"""Generations of which the departed workers' counts are kept: more than serve at a time."""
Main = Callable[[Config, worker_run.Birth], int]
"""What a worker runs; returns its exit code."""


class Berth:
    """What a worker that is not there yet will have. ``ours`` and ``theirs`` are the ends of its channel."""

    def __init__(
        self, order: Spawn, row: int, ours: socket.socket, theirs: socket.socket, report: ReportFile, stalls: ReportFile
    ) -> None:
        self.order = order
        self.row = row
        self.ours, self.theirs = ours, theirs
        self.report, self.stalls = report, stalls

    @property
    def details(self) -> dict[str, Any]:
        """What a template is told of the worker, fit for JSON."""
        order = self.order
        return {"id": order.worker, "slot": order.slot, "generation": order.generation, "row": self.row}

    @property
    def descriptors(self) -> list[int]:
        """What goes to the template with that."""
        return [self.theirs.fileno(), self.report.fileno(), self.stalls.fileno()]


class Spawner:
    """Makes workers that run ``main``, and takes back what they had when they are gone.

    All workers share ``listeners`` and ``handover``.
    """

    def __init__(
        self,
        forker: Forker,
        main: Main,
        listeners: tuple[socket.socket, ...],
        scoreboard: Scoreboard,
        handover: Ends | None,
    ) -> None:
        self._forker = forker
        self._main = main
        self._listeners = listeners
        self._scoreboard = scoreboard
        self._handover = handover
        self.modules = KeptModules()
        """What workers may import later."""
        self._departed: dict[int, Counts] = {}
        """What the departed workers of the newest generations counted, by generation."""

    def state(self) -> list[Any]:
        """What workers counted that are gone, fit for JSON."""
        return [[generation, counts.state()] for generation, counts in self._departed.items()]

    def restore(self, state: Iterable[Any]) -> None:
        """Go on from this :meth:`state`."""
        self._departed = {generation: Counts.restored(counts) for generation, counts in state}

    # --------------------------------------------------------------------------------------------------------------- birth

    def prepare(self, order: Spawn) -> Berth:
        """Make what the worker will have. Raises OSError, or IndexError when all rows of the scoreboard are lent."""
        with ExitStack() as undo:
            row = self._scoreboard.claim()
            undo.callback(self._scoreboard.release, row)
            ours, theirs = self._forker.open_channel()
            undo.callback(self._forker.own.close, ours)
            undo.callback(theirs.close)
            # Not kept by the registry before the fork: the worker needs it.
            report = ReportFile(begun.REPORT_SIZE, begun.SIZE)
            undo.callback(report.close)
            stalls = ReportFile(STALLS_SIZE)
            undo.pop_all()
        return Berth(order, row, ours, theirs, report, stalls)

    def spawn(self, order: Spawn) -> Child:
        """Fork the worker. Raises OSError, or IndexError when all rows of the scoreboard are lent."""
        berth = self.prepare(order)
        birth = worker_run.Birth(
            id=order.worker,
            slot=order.slot,
            generation=order.generation,
            channel=berth.theirs,
            listeners=self._listeners,
            scoreboard=self._scoreboard,
            row=berth.row,
            hang_report=berth.report.fileno(),
            stalls=berth.stalls.fileno(),
            handover=self._handover,
            modules=self.modules,
        )
        try:
            pid = self._forker.fork_with(berth.theirs, lambda _: self._be_worker(order.config, birth))
        except BaseException:
            self.abandon(berth)
            raise
        self.hand_out(berth)
        return self.take_in(berth, pid)

    def hand_out(self, berth: Berth) -> None:
        """Another process has its end of the channel, and the files: no process that is forked from now on may have them."""
        berth.theirs.close()
        self._forker.own.keep(berth.report)
        self._forker.own.keep(berth.stalls)

    @staticmethod
    def take_in(berth: Berth, pid: int) -> Child:
        """The worker is there, as ``pid``, which is our child."""
        order = berth.order
        return Child(
            order.worker,
            order.slot,
            order.generation,
            pid,
            berth.row,
            order.config,
            berth.ours,
            berth.report,
            berth.stalls,
        )

    def let_go(self, berth: Berth) -> None:
        """Nobody waits for the worker any more. A process that was forked for it finds its channel closed, and exits."""
        self._forker.own.close(berth.ours)

    def abandon(self, berth: Berth) -> None:
        """There will be no worker: take back what it would have had."""
        self.let_go(berth)
        berth.theirs.close()
        self._forker.own.close(berth.report)
        self._forker.own.close(berth.stalls)
        self._scoreboard.release(berth.row)

    # ---------------------------------------------------------------------------------------------------------------- death

    def bury(self, child: Child) -> None:
        """Take back what the worker had: it is gone."""
        self._departed.setdefault(child.generation, Counts()).add_all(self._scoreboard.release(child.row))
        for generation in sorted(self._departed)[:-KEPT_GENERATIONS]:
            del self._departed[generation]
        self.close(child)

    def counted_by(self, generation: int, living: Iterable[Child]) -> Counts:
        """What the workers of ``generation`` counted: those of ``living``, and those that are gone."""
        counts = self._scoreboard.counts.read(child.row for child in living if child.generation == generation)
        if (departed := self._departed.get(generation)) is not None:
            counts.add_all(departed)
        return counts

    def close(self, child: Child) -> None:
        """Close what the supervisor holds of the worker."""
        self._forker.own.close(child.link.channel)
        self._forker.own.close(child.hang_report)
        self._forker.own.close(child.stalls)

    def _be_worker(self, config: Config, birth: worker_run.Birth) -> int:
        os.environ["TRICORN_SLOT"] = str(birth.slot)
        return self._main(config, birth)
