"""The shared memory in which workers show their state.

It is made before the first fork and inherited by all. Each worker writes only its own row; reading a row
costs no message and wakes no process. While a worker is replaced two workers serve in one slot, so rows belong to workers,
not to slots: the supervisor lends a row to each worker that it forks, and takes it back when the worker is reaped. What it
counted is then added to the totals of the departed, so that no counter ever runs backwards.

All processes share the memory, so any worker can write any cell. Therefore no worker reads its own row back, and no cell
decides alone: what other rows say is used only if it is plausible, and at worst delays a connection by some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import Enum, IntEnum, auto
from typing import Any

from .counts import Counts, SharedCells, WorkerCounts

BEAT_PERIOD = 1.0
"""Seconds between two beats of a worker."""
ACTIVE_PERIOD = 0.08
"""Seconds between two beats, at most, of a worker that is ``ACTIVE``. A stall begins between two of them: so the middle is
wrong by 40 ms at most."""
ROWS = 4096
"""Far more workers than a machine runs at once; untouched rows cost no memory."""


class Kind(Enum):
    """What the values of a column mean over time."""

    GAUGE = auto()
    """How it is now; nothing once the worker is gone."""
    COUNTER = auto()
    """How much there was since the worker's start; it only grows, and outlives the worker in the totals."""


class Field(IntEnum):
    """The columns of a row, each a C double: kind, unit and what it says. The value is the column's index."""

    SERVING = Kind.GAUGE, "", "1 from ready until the drain begins: whether this worker accepts connections"
    BEAT = Kind.GAUGE, "seconds", "CLOCK_MONOTONIC when the worker's event loop last turned; 0 before its first turn"
    CONNECTIONS = Kind.GAUGE, "", "Open connections"
    IN_FLIGHT = Kind.GAUGE, "", "Requests being answered"
    REQUESTS = Kind.COUNTER, "", "Requests answered"
    ACTIVE = Kind.GAUGE, "", "1 while the event loop beats several times a second, because requests are in flight"
    WEBSOCKETS = Kind.GAUGE, "", "How many of the connections are WebSockets"
    HTTP2 = Kind.GAUGE, "", "How many of the connections speak HTTP/2"
    LAG = Kind.GAUGE, "seconds", "By how much the last beat came late: how long the event loop was kept from turning"

    kind: Kind
    unit: str
    """Empty for a plain number."""
    help: str

    def __new__(cls, kind: Kind, unit: str, help: str) -> Field:
        """A column, to the right of those before it."""
        index = len(cls.__members__)
        field = int.__new__(cls, index)
        field._value_ = index
        field.kind, field.unit, field.help = kind, unit, help
        return field


COUNTERS = tuple(field for field in Field if field.kind is Kind.COUNTER)
LINE = 8
"""Doubles in a cache line of 64 bytes."""
WIDTH = -(-len(Field) // LINE) * LINE
"""Doubles per row: whole cache lines, so that workers do not disturb each other's."""


class Row:
    """One worker's row; the columns are :class:`Field`."""

    __slots__ = ("cells",)

    def __init__(self, cells: memoryview[float]) -> None:
        self.cells = cells
        """The row's part of the memory. The acceptor writes to it directly, once for each connection."""

    def __getitem__(self, field: Field) -> float:
        value: float = self.cells[field]
        return value

    def __setitem__(self, field: Field, value: float) -> None:
        self.cells[field] = value


STALE = 3.0
"""Seconds without a beat after which a worker is not counted on: it hangs, or is gone and not reaped yet. A beat that lies so
far in the future does not count."""
MAX_CONNECTIONS = 2.0**30
"""More than a process can have (fs.nr_open, proc(5)). A cell that holds more, less than zero or no number is nonsense."""
MAX_COUNT = 2.0**53
"""Up to here a double counts exactly."""
USED, _FOLDS = 0, 1
"""Cells of the row before the workers' rows: how many were ever lent; how often a change of the totals began or ended."""
ASKED = 8
"""Workers whose connections are compared with a worker's own, at most. Two would do to keep queues short (the power of two
choices); with eight, small fleets are compared whole."""
MAX_TRIES = 100
"""How often the totals are read again if they change meanwhile, which takes the supervisor some microseconds."""


class Scoreboard:
    """All rows. Only the supervisor calls :meth:`claim` and :meth:`release`; any process may read."""

    def __init__(self, rows: int = ROWS, fd: int = -1, counts: WorkerCounts | None = None) -> None:
        """``fd``: the memory's descriptor, if there is one already; then ``counts`` is there, too."""
        self._shared = SharedCells("tricorn-scoreboard", (rows + 2) * WIDTH, fd)
        self.cells = self._shared.cells
        """All of the memory: a row for what concerns all workers, then the workers' rows, then the row of the departed."""
        self._rows = rows
        self.counts = counts or WorkerCounts(rows)
        """What the workers count exactly, in rows of the same numbers."""
        self._departed = self.row(rows + 1)
        self._totals = dict.fromkeys(COUNTERS, 0.0)
        """What the departed counted; in the supervisor's own memory, where no worker can change it."""
        self._seen = dict(self._totals)
        """The totals that this process read last, not in the middle of a fold."""
        self._folds = 0
        self._free = list(range(rows, 0, -1))
        self._used = 0
        """How many rows were ever lent, as far as this process knows."""
        self._asked = 0
        """The row that was asked last for its connections."""

    @classmethod
    def restored(cls, state: Mapping[str, Any], lent: Collection[int]) -> Scoreboard:
        """The one whose :meth:`state` that is; the rows ``lent`` are those of workers that are not reaped yet."""
        rows = state["rows"]
        found = cls(rows, state["fd"], WorkerCounts.restored(rows, state["counts"]))
        found._totals = {field: state["totals"].get(field.name, 0.0) for field in COUNTERS}
        found._seen = dict(found._totals)
        found._folds, found._used = state["folds"], state["used"]
        found._free = [row for row in found._free if row not in lent]
        return found

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to go on with it, fit for JSON; ``give`` is told of each descriptor."""
        return {
            "fd": give(self._shared.fd),
            "rows": self._rows,
            "totals": {field.name: value for field, value in self._totals.items()},
            "folds": self._folds,
            "used": self._used,
            "counts": self.counts.state(give),
        }

    @property
    def used(self) -> int:
        """How many rows were ever lent. Any worker can write the cell, so an impossible value is ignored."""
        used = self.cells[USED]
        if 0 <= used <= self._rows:
            self._used = int(used)
        return self._used

    def claim(self) -> int:
        """Lend the lowest free row, zeroed; raises IndexError when all are lent."""
        index = self._free.pop()
        self._used = max(self._used, index)
        self.cells[USED] = self._used
        self._clear(index)
        self.counts.lend(index)
        return index

    def release(self, index: int) -> Counts:
        """Take a row back: its counters go into the totals, and the row is not counted any more.

        Returns what the worker counted exactly.
        """
        row = self.row(index)
        counts = self.counts.fold(index)
        self._mark_fold()
        for field in COUNTERS:
            self._totals[field] += _count(row[field])
            self._departed[field] = self._totals[field]
        self._clear(index)
        self._mark_fold()
        self._free.append(index)
        self._free.sort(reverse=True)
        return counts

    def totals(self) -> dict[Field, float]:
        """Each counter, summed over all workers, also those that are gone. It never runs backwards, in whatever process reads
        it."""
        for _ in range(MAX_TRIES):
            folds = self.cells[_FOLDS]
            totals = {field: self._sum(field) for field in COUNTERS}
            if folds % 2 == 0 and self.cells[_FOLDS] == folds:
                self._seen = totals
                break
        # If the supervisor is interrupted in the middle of a fold, a worker counts twice or not at all just now.
        return self._seen

    def _sum(self, field: Field) -> float:
        own = range(WIDTH + field, (self.used + 1) * WIDTH, WIDTH)
        return _count(self._departed[field]) + sum(_count(self.cells[cell]) for cell in own)

    def row(self, index: int) -> Row:
        """The row that :meth:`claim` lent as ``index``."""
        return Row(self.cells[index * WIDTH : (index + 1) * WIDTH])

    def has_fewer(self, limit: float, but: int, now: float) -> bool:
        """Whether a serving worker other than that of row ``but`` has fewer than ``limit`` connections.

        A worker that has more requests in flight, as HTTP/2 allows, counts those instead. ``now`` is in seconds of
        CLOCK_MONOTONIC. Rows with impossible values are left out. Of many workers, the next few are asked: it costs a
        microsecond at most, however many there are.
        """
        cells, used, own = self.cells, self.used, but * WIDTH
        for _ in range(min(used, ASKED)):
            self._asked = self._asked % used + 1
            start = self._asked * WIDTH
            if (
                0 <= cells[start + Field.CONNECTIONS] < limit
                and start != own
                and cells[start] == 1
                and now - STALE < cells[start + Field.BEAT] < now + STALE
                and not limit <= cells[start + Field.IN_FLIGHT] <= MAX_CONNECTIONS
            ):
                return True
        return False

    def _mark_fold(self) -> None:
        self._folds += 1
        self.cells[_FOLDS] = self._folds

    def _clear(self, index: int) -> None:
        for cell in range(index * WIDTH, (index + 1) * WIDTH):
            self.cells[cell] = 0.0


def _count(value: float) -> float:
    """What a counter's cell says; nothing if it can't be true."""
    return value if 0 <= value <= MAX_COUNT else 0.0
