"""A worker's process as the host sees it: its pid, its channel, its hang report, and how it ended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

from ..config.options import Config
from ..ipc import begun
from ..ipc import channel as wire
from ..ipc.channel import (
    ACTIVE,
    ALIVE,
    DELIVERING,
    FAILED,
    FROM_WORKER,
    FROM_WORKER_RELOADED,
    LOADED,
    PROBE,
    READY,
    REPORT,
    REPORTED,
    RETIRE,
    STALLED,
    WAITING,
    Message,
    Table,
    Violation,
)
from ..ipc.report import Report, read_report
from ..ipc.text import many_lines
from ..ipc.waits import Waits, name_request
from .link import Link
from .messages import Beat, Delivering, Failed, Ready, Recycle, Violated, Waiting, WorkerFact
from .phases import HANG_REPORT
from .report_file import ReportFile
from .tally import OUT_OF_MEMORY

REPORT_SHOWN = 128 * 1024
"""Characters of it that are logged. To make a MiB fit for the log may take us half a second."""
STALLS_SIZE = 128 * 1024
"""Bytes of a sample of a stalled worker: faulthandler writes a hundred frames at most, and the names of files in part."""


class Speaker(Enum):
    """How far a worker is, by what it said."""

    STARTING = auto()
    READY = auto()
    RETIRING = auto()
    """It has asked to be replaced."""
    FAILED = auto()


_WHEN_READY = (LOADED, DELIVERING, ALIVE, WAITING, REPORTED, ACTIVE, STALLED)
MAY_SAY: dict[tuple[Speaker, str], Speaker] = {
    (Speaker.STARTING, READY): Speaker.READY,
    (Speaker.STARTING, FAILED): Speaker.FAILED,
    # TERM may come while it starts; and a drain may be ordered.
    (Speaker.STARTING, RETIRE): Speaker.STARTING,
    (Speaker.STARTING, WAITING): Speaker.STARTING,
    **{(Speaker.READY, kind): Speaker.READY for kind in _WHEN_READY},
    (Speaker.READY, RETIRE): Speaker.RETIRING,
    **{(Speaker.RETIRING, kind): Speaker.RETIRING for kind in _WHEN_READY},
}
"""What a worker may say, and what it is then. Nothing when it has failed; ready and, from then on, retire only once."""


def read_waits(message: Message) -> Waits:
    """What a worker says that it waits for."""
    age = max(0.0, message["age"])
    return Waits(message["requests"], name_request(message["oldest"]), age, message["connections"])


def table_of(config: Config) -> Table:
    """What a worker that was born with ``config`` may say."""
    return FROM_WORKER_RELOADED if config.reload else FROM_WORKER


FATAL = "Fatal Python error: "
"""How faulthandler begins what it writes about a fatal signal."""


class Child:
    """A worker's process, forked and not yet reaped; so no other process has its pid."""

    def __init__(
        self,
        worker: int,
        slot: int,
        generation: int,
        pid: int,
        row: int,
        config: Config,
        channel: socket.socket | Link,
        hang_report: ReportFile,
        stalls: ReportFile,
    ) -> None:
        """``row`` is the index of its row in the scoreboard, ``channel`` the supervisor's end, or the link that it has."""
        self.worker = worker
        self.slot = slot
        self.generation = generation
        self.pid = pid
        self.row = row
        self.config = config
        self.link = channel if isinstance(channel, Link) else Link(channel, table_of(config))
        self.hang_report = hang_report
        self.stalls = stalls
        self.beat = 0.0
        """The last beat that the fleet was told."""
        self.deaf_at: float | None = None
        """When a worker that has closed its channel counts as broken, unless it is gone by then."""
        self.loaded: list[Message] = []
        """What it said of imported modules and was not passed on to the auxiliaries yet."""
        self.turns: list[Message] = []
        """What it said of its event loop and was not read yet (see stalls.py)."""
        self.is_cut_short = False
        """Whether it was told to exit at once."""
        self._speaker = Speaker.STARTING
        self._is_examined = False
        """Whether the file has a hang report."""
        self.is_writing_until = 0.0
        """Until when the worker may write a hang report, in seconds of CLOCK_MONOTONIC."""
        self.owes_report = False
        """Whether it was asked for a report, and has not answered yet."""

    @classmethod
    def restored(cls, state: Mapping[str, Any], config: Config) -> Child:
        """The one whose :meth:`state` that is; ``config`` is what the worker was born with."""
        child = cls(
            state["worker"],
            state["slot"],
            state["generation"],
            state["pid"],
            state["row"],
            config,
            Link.restored(state["link"], table_of(config)),
            ReportFile(begun.REPORT_SIZE, begun.SIZE, state["hang_report"]),
            ReportFile(STALLS_SIZE, fd=state["stalls"]),
        )
        child.beat, child.deaf_at, child.is_cut_short = state["beat"], state["deaf_at"], state["is_cut_short"]
        child._speaker, child._is_examined = Speaker[state["speaker"]], state["is_examined"]
        child.is_writing_until, child.owes_report = state["is_writing_until"], state["owes_report"]
        return child

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to go on with the worker, fit for JSON; ``give`` is told of each descriptor."""
        return {
            "worker": self.worker,
            "slot": self.slot,
            "generation": self.generation,
            "pid": self.pid,
            "row": self.row,
            "link": self.link.state(give),
            "hang_report": give(self.hang_report.fileno()),
            "stalls": give(self.stalls.fileno()),
            "beat": self.beat,
            "deaf_at": self.deaf_at,
            "is_cut_short": self.is_cut_short,
            "speaker": self._speaker.name,
            "is_examined": self._is_examined,
            "is_writing_until": self.is_writing_until,
            "owes_report": self.owes_report,
        }

    @property
    def name(self) -> str:
        """How the log names it."""
        return f"Worker {self.slot} [{self.pid}]"

    def read(self, now: float) -> list[WorkerFact]:
        """What the worker has said, as facts, a piece at a time; a violation is a fact, too."""
        try:
            return self._understand(self.link.read(now), now)
        except Violation as violation:
            self.link.is_over = True
            return [Violated(self.worker, f"wrote to the supervisor {violation}")]

    def read_last(self, now: float) -> list[WorkerFact]:
        """What it said before it died: the reason why it could not start."""
        try:
            return self._understand(self.link.read_last(now), now)
        except Violation:
            return []

    def _understand(self, messages: list[Message], now: float) -> list[WorkerFact]:
        facts: list[WorkerFact] = []
        for message in messages:
            kind = message["kind"]
            after = MAY_SAY.get((self._speaker, kind))
            if after is None:
                raise Violation(f'"{kind}" when it was {self._speaker.name.lower()}')
            self._speaker = after
            if kind == LOADED:
                self.loaded.append(message)
            elif kind in (ACTIVE, STALLED):
                self.turns.append(message)
            elif kind == READY:
                facts.append(Ready(self.worker, message.get("error")))
            elif kind == FAILED:
                facts.append(Failed(self.worker, message["error"]))
            elif kind == RETIRE:
                facts.append(Recycle(self.worker, message["reason"]))
            elif kind == WAITING:
                facts.append(Waiting(self.worker, read_waits(message)))
            elif kind == DELIVERING:
                facts.append(Delivering(self.worker))
            elif kind == ALIVE:
                facts.append(Beat(self.worker, now))
            elif kind == REPORTED:
                self.owes_report = False
        return facts

    def tell(self, kind: str, **details: bool) -> bool:
        """Send a message; returns whether it goes out (not if the channel is full or closed)."""
        return self.link.send(wire.encode(kind, **details))

    def probe(self) -> None:
        """Ask whether its event loop turns. A worker that starts is not asked: whether it is ready is what counts then."""
        if self._speaker not in (Speaker.STARTING, Speaker.FAILED):
            self.tell(PROBE)

    def begin_hang_report(self, now: float) -> None:
        """Empty the file, because the worker hangs; then it is to be signalled."""
        self._is_examined = True
        self.is_writing_until = now + HANG_REPORT
        self.hang_report.begin()

    def ask_for_report(self, stacks: bool) -> bool:
        """Empty the file, and ask for a report while the worker is not known to hang; returns whether it may answer.

        It does not while it starts, and if it has not answered last time: then only a signal makes it write.
        """
        # What a hang report has written is gone then.
        self._is_examined = False
        self.hang_report.begin()
        if self.owes_report or self._speaker in (Speaker.STARTING, Speaker.FAILED) or self.link.is_over:
            return False
        self.owes_report = self.link.send(wire.encode(REPORT, stacks=stacks))
        return self.owes_report

    def read_report(self, limit: int) -> Report:
        """What the worker wrote since then, in about ``limit`` characters."""
        return read_report(self._text() + "\n", limit)

    @property
    def has_written(self) -> bool:
        """Whether there is anything in the file of reports."""
        return bool(os.pread(self.hang_report.fileno(), 1, 0).strip(b"\0"))

    def read_hang_report(self) -> str:
        """What the worker wrote since :meth:`begin_hang_report`, fit for the log; nothing if that was never called."""
        if not self._is_examined:
            return ""
        return many_lines(self._text(), REPORT_SHOWN)

    def read_crash(self) -> str:
        """The stacks that faulthandler wrote when a fatal signal came, such as SIGSEGV, and the last requests; or nothing."""
        _, marker, rest = self._text().rpartition(FATAL)
        if not marker:
            return ""
        requests = begun.read(self.hang_report.read_notes())
        last = f"\nRequests that it began last: {', '.join(requests)}" if requests else ""
        return many_lines(marker + rest, REPORT_SHOWN) + last

    def _text(self) -> str:
        return self.hang_report.read().strip(b"\0").decode(errors="replace").strip()


def describe_exit(status: int, is_oom: Callable[[], bool]) -> str:
    """What ``status`` (as of waitpid(2)) says, for people; ``is_oom`` is asked when it was SIGKILL."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"  # A real-time signal has no name of its own.
    core = " (core dumped)" if os.WCOREDUMP(status) else ""
    oom = f" ({OUT_OF_MEMORY}: the cgroup's memory limit was reached)" if -code == signal.SIGKILL and is_oom() else ""
    return f"killed by {name}{core}{oom}"
