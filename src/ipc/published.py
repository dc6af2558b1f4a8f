"""What the supervisor shows to the processes that watch it, in memory that no worker has.

The admin process reads it, so it can answer while every worker hangs, and even while the supervisor does. The supervisor writes
and never waits: a reader that meets a change under way reads again.
"""

from __future__ import annotations

import mmap

from .counts import BLOCK, FIRST_BUCKET, MAX_KEY, SECONDS, Cell, Counts, SharedCells, blocks_of

MAX_TEXT = 2 * 1024 * 1024
"""Bytes of the text: some hundred for each of as many workers as there can be."""
MAX_TRIES = 100
"""How often a reader tries again. A change takes the supervisor some microseconds."""
_CHANGES, _LENGTH, _BEAT, _WORKER_BEAT, _USED = range(5)
"""Cells: how often a change began or ended; the text's length; when supervisor and workers turned last; rows ever lent."""
_TEXT = 16
_TOTALS = _TEXT + MAX_TEXT // 8
_BLOCKS = 1 + MAX_KEY
"""One for the plain counters, and one for each key that there can be."""


class Published:
    """Made by the supervisor before any fork. A process that only reads calls :meth:`protect` first."""

    def __init__(self) -> None:
        self._shared = SharedCells("tricorn-published", _TOTALS + _BLOCKS * BLOCK)
        self._blocks: dict[int, int] = {}
        """Where the block of each key begins."""
        self._changes = 0

    @property
    def fd(self) -> int:
        """The memory's descriptor; -1 where there is none."""
        return self._shared.fd

    def close(self) -> None:
        """Give the memory up."""
        self._shared.close()

    # The supervisor writes.

    def begin(self) -> None:
        """A change begins: from now on readers wait for its end."""
        self._changes += 1
        self._shared.cells[_CHANGES] = self._changes

    def end(self) -> None:
        """The change is complete."""
        self._changes += 1
        self._shared.cells[_CHANGES] = self._changes

    def show_text(self, text: bytes) -> bool:
        """Show ``text`` in the place of the one before; returns False, and shows the old one, if it is too long."""
        if len(text) > MAX_TEXT:
            return False
        self.begin()
        self._shared.map[_TEXT * 8 : _TEXT * 8 + len(text)] = text
        self._shared.cells[_LENGTH] = len(text)
        self.end()
        return True

    def show_totals(self, departed: Counts, changed: Counts) -> None:
        """Show what has grown of the totals: ``changed`` was added. Call it between :meth:`begin` and :meth:`end`."""
        cells = self._shared.cells
        for cell in Cell:
            cells[_TOTALS + cell] = departed.plain[cell]
        for key in changed.blocks:
            begin = self._blocks.get(key)
            if begin is None:
                begin = self._blocks[key] = _TOTALS + BLOCK * (1 + len(self._blocks))
            seconds, *buckets = departed.blocks[key]
            cells[begin + SECONDS] = seconds
            for bucket, value in enumerate(buckets, begin + FIRST_BUCKET):
                cells[bucket] = value
            cells[begin] = key

    def show_used(self, used: int) -> None:
        """Show how many rows were ever lent."""
        self._shared.cells[_USED] = used

    def show_beat(self, now: float, workers: float) -> None:
        """Show that the supervisor turns, and when a worker did last."""
        cells = self._shared.cells
        cells[_BEAT], cells[_WORKER_BEAT] = now, workers

    # Others read.

    def protect(self) -> None:
        """Make the memory read-only for this process, so that no mistake of ours can change what the supervisor shows."""
        if self._shared.fd >= 0:
            old = self._shared
            self._shared = SharedCells.__new__(SharedCells)
            self._shared.fd, old.fd = old.fd, -1
            self._shared.map = mmap.mmap(self._shared.fd, 0, access=mmap.ACCESS_READ)
            self._shared.cells = memoryview(self._shared.map).cast("d")
            old.close()

    @property
    def beat(self) -> float:
        """When the supervisor turned last, in seconds of CLOCK_MONOTONIC; 0 before that."""
        return self._shared.cells[_BEAT]

    @property
    def worker_beat(self) -> float:
        """When any worker's event loop turned last, as far as the supervisor has seen."""
        return self._shared.cells[_WORKER_BEAT]

    @property
    def used(self) -> int:
        """How many rows were ever lent to workers."""
        return int(self._shared.cells[_USED])

    @property
    def changes(self) -> float:
        """Grows with each change; odd while one is under way."""
        return self._shared.cells[_CHANGES]

    def text(self) -> bytes:
        """The text that is shown; empty before the first."""
        text = b""
        for _ in range(MAX_TRIES):
            before = self.changes
            text = bytes(self._shared.map[_TEXT * 8 : _TEXT * 8 + int(self._shared.cells[_LENGTH])])
            if before % 2 == 0 and self.changes == before:
                break
        return text

    def totals(self) -> Counts:
        """The totals of the departed. While a change is under way (see :attr:`changes`) they may be half of the change."""
        counts = Counts()
        cells = self._shared.cells[_TOTALS:]
        counts.plain = list(cells[: len(Cell)])
        for _, key, values in blocks_of(cells, 1):
            counts.add(key, values)
        return counts


def read_all(published: Published, rows: memoryview[float], width: int) -> Counts | None:
    """What all workers have counted: the totals of the departed and the rows of those that live.

    ``rows``: the workers' rows, the first of them at ``width``. None if the supervisor is interrupted in a change:
    then a worker would count twice, or not at all.
    """
    for _ in range(MAX_TRIES):
        before = published.changes
        counts = published.totals()
        for index in range(1, published.used + 1):
            counts.add_row(rows[index * width : (index + 1) * width])
        if before % 2 == 0 and published.changes == before:
            return counts
    return None
