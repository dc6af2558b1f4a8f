"""What serving needs of its owner, which is a supervisor or the program in whose process it serves."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from ..ipc.begun import REPORT_SIZE, Begun
from ..ipc.counts import WIDTH as COUNTS_WIDTH
from ..ipc.counts import RowWriter
from ..ipc.scoreboard import WIDTH, Row, Scoreboard
from ..ipc.waits import Waits


class Owner(Protocol):
    """Is told of a server's life. None of the calls may wait."""

    def beat(self) -> None:
        """Connections are accepted; called once a second."""

    def retire(self, reason: str) -> bool:
        """The server asks to be replaced, perhaps again and again; returns whether the owner can be asked."""

    def waiting(self, waits: Waits) -> None:
        """The server drains, and still waits for this; called once a second."""

    def delivering(self) -> None:
        """The server has drained, but clients still take responses; called once a second."""

    def active(self) -> None:
        """With ``--report-stalls``: requests are in flight, after a while without; the row shows whether they still are."""

    def stalled(self, seconds: float) -> None:
        """With ``--report-stalls``: the event loop turns again, after it did not for so long."""


class Place(Protocol):
    """A server's place in its fleet."""

    @property
    def row(self) -> Row:
        """Where the server shows how it is doing."""

    @property
    def meters(self) -> RowWriter:
        """Where the server counts."""

    @property
    def begun(self) -> Begun | None:
        """Where the server notes which requests began last; None if no supervisor would ask for them."""

    @property
    def is_shared(self) -> bool:
        """Whether other servers may accept on the same listeners."""

    def has_fewer(self, limit: float, now: float) -> bool:
        """Whether another server has fewer than ``limit`` connections. ``now`` is CLOCK_MONOTONIC's."""


class FleetPlace:
    """The place of a worker: a row of the scoreboard, where all workers see each other."""

    is_shared = True

    def __init__(self, scoreboard: Scoreboard, index: int, report: int = -1) -> None:
        """``index`` is the index of the worker's own row, ``report`` the descriptor of the file of its hang report."""
        self.row = scoreboard.row(index)
        self.meters = RowWriter(scoreboard.counts.row(index))
        self.begun: Begun | None = None
        # Without a memfd the file has no room for notes.
        with suppress(OSError, ValueError):
            self.begun = Begun(report, REPORT_SIZE)
        self._scoreboard = scoreboard
        self._index = index

    def has_fewer(self, limit: float, now: float) -> bool:
        """See :meth:`Scoreboard.has_fewer`."""
        return self._scoreboard.has_fewer(limit, self._index, now)


class OnlyPlace:
    """The place of a server without others. No other process reads its row."""

    begun = None
    is_shared = False

    def __init__(self) -> None:
        self.row = Row(memoryview(bytearray(WIDTH * 8)).cast("d"))
        self.meters = RowWriter(memoryview(bytearray(COUNTS_WIDTH * 8)).cast("d"))

    def has_fewer(self, limit: float, now: float) -> bool:
        """There is no other server."""
        return False
