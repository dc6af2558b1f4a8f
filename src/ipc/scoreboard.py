"""The shared memory through which every worker is seen.

One anonymous ``mmap`` is made before the first fork and inherited by all. Each worker writes only its own row; reading a row
costs no message and wakes nobody. While a worker is replaced two workers serve in one slot, so rows belong to workers, not to
slots: the supervisor lends a row to each worker it forks and takes it back when the worker is reaped.

Any worker can write any cell, for all have the memory. So nobody reads his own row back, and no cell decides alone: what others
say is used only if it can be true, and at worst delays a connection by some milliseconds.
"""

from __future__ import annotations

import mmap
from enum import IntEnum

ROWS = 4096
"""Far more workers than a machine runs at once; untouched rows cost no memory."""


class Field(IntEnum):
    """The columns of a row, each a C double."""

    SERVING = 0
    """1 from ready until the drain begins: whether this worker accepts connections."""
    BEAT = 1
    """CLOCK_MONOTONIC seconds when the worker's event loop last turned; 0 before its first turn."""
    CONNECTIONS = 2
    """Open connections."""
    IN_FLIGHT = 3
    """Requests being answered."""
    REQUESTS = 4
    """Requests answered since the start."""
    LAG = 5
    """Seconds by which the last beat came late: how long the event loop was kept from turning."""


WIDTH = 8
"""Doubles per row: a row fills one 64-byte cache line, so that workers do not disturb each other's."""


class Row:
    """One worker's row; the columns are :class:`Field`."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview[float]) -> None:
        self._cells = cells

    def __getitem__(self, field: Field) -> float:
        value: float = self._cells[field]
        return value

    def __setitem__(self, field: Field, value: float) -> None:
        self._cells[field] = value


STALE = 3.0
"""Seconds without a beat after which a worker is not counted on: it hangs, or is gone and not reaped yet. A beat so far in the
future is none."""
MOST_CONNECTIONS = 2.0**30
"""More than a process can have (fs.nr_open, proc(5)): what is above, below zero or no number is nonsense."""
_USED = 0
"""The cell, in the row before the workers' rows, that tells how many of these were ever lent."""


class Scoreboard:
    """All rows. Only the supervisor calls :meth:`claim` and :meth:`release`."""

    def __init__(self, rows: int = ROWS) -> None:
        self._cells: memoryview[float] = memoryview(mmap.mmap(-1, (rows + 1) * WIDTH * 8)).cast("d")
        self._rows = rows
        self._free = list(range(rows, 0, -1))
        self._used = 0
        """How many rows were ever lent, as far as this process knows."""

    @property
    def used(self) -> int:
        """How many rows were ever lent. Any worker can write the cell, so what can't be is not believed."""
        used = self._cells[_USED]
        if 0 <= used <= self._rows:
            self._used = int(used)
        return self._used

    def claim(self) -> int:
        """Lend the lowest free row, zeroed; raises IndexError when all are lent."""
        index = self._free.pop()
        self._used = max(self._used, index)
        self._cells[_USED] = self._used
        self._clear(index)
        return index

    def release(self, index: int) -> None:
        """Take a row back, so that nobody counts it any more."""
        self._clear(index)
        self._free.append(index)
        self._free.sort(reverse=True)

    def row(self, index: int) -> Row:
        return Row(self._cells[index * WIDTH : (index + 1) * WIDTH])

    def fewest_connections(self, but: int, now: float) -> float | None:
        """The fewest connections that a serving worker has, other than the one of row ``but``; None if no other serves.

        ``now`` is in seconds of CLOCK_MONOTONIC. Rows that say what can't be are left out. Costs a few hundred nanoseconds per
        worker.
        """
        cells, fewest = self._cells, None
        for start in range(WIDTH, (self.used + 1) * WIDTH, WIDTH):
            if cells[start] == 1 and start != but * WIDTH and now - STALE < cells[start + Field.BEAT] < now + STALE:
                connections = cells[start + Field.CONNECTIONS]
                if 0 <= connections <= MOST_CONNECTIONS and (fewest is None or connections < fewest):
                    fewest = connections
        return fewest

    def _clear(self, index: int) -> None:
        for cell in range(index * WIDTH, (index + 1) * WIDTH):
            self._cells[cell] = 0.0
