"""What the workers count, exactly: responses by method, status and duration, bytes, WebSocket messages.

A worker writes its own row as each response ends, one aligned 8-byte cell at a time. So a worker that is killed in the middle
leaves whole numbers, and what can be lost is what was in flight. A WebSocket is in flight while it is open: what it counts is
written once a second, and when it ends. When a worker is reaped, the supervisor adds its row to the totals of the departed,
which no worker can reach, and clears the row.

A row is a sequence of *blocks* of 24 cells (three cache lines). The first has the plain counters (:class:`Cell`). Each other
one belongs to one method and status: its key, the seconds that the responses took together, and how many took how long, by
:data:`BOUNDS`. A quick response writes to its block's first cache line and nowhere else, bytes included: a line that the
processor's cache does not hold costs a quarter of a microsecond. So each block also has what the worker's counters of bytes
were when it was written last, and the largest of them is the newest. Blocks are taken in order as methods and statuses come up;
the first key of 0 ends the row. The number of requests is no cell of its own: it is the sum of a block's buckets. So a
histogram's count is always that of its requests.

A row that a reader sees may be in the middle of a change, and may hold anything at all, for workers are not trusted: keys out
of range end the row, and impossible values count as nothing.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from operator import add
from typing import Any, Protocol

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "other")
"""The methods of RFC 9110 and RFC 5789; all others are counted as the last, because clients can make up any number of them."""
OTHER = len(METHODS) - 1
STATUSES = 1000
"""Statuses have three digits (RFC 9110 section 15). Status 0 stands for those beyond what fits into a row."""
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram's buckets, in seconds: the customary ones, and two below for fast applications."""
BUCKETS = len(BOUNDS) + 1
BLOCK = 24
"""Cells of a block: key, seconds, bytes received and sent, buckets; some are free. Three cache lines."""
BLOCKS = 256
"""Blocks of a row. An application answers with some tens of methods and statuses; all beyond that share a block per method."""
WIDTH = BLOCK * BLOCKS
MAX_COUNT = 2.0**53
"""Up to here a double counts exactly."""
MAX_SECONDS = 3.2e9
"""A century: more can't be true."""


class Cell(IntEnum):
    """The plain counters, in a row's first block."""

    RECEIVED = 0
    """Bytes read from clients, without TLS's own."""
    SENT = 1
    """Bytes written to clients, without TLS's own."""
    MESSAGES_RECEIVED = 2
    MESSAGES_SENT = 3
    """Of WebSockets."""


SECONDS, BYTES_RECEIVED, BYTES_SENT, FIRST_BUCKET = 1, 2, 3, 4
"""Cells of a block, behind its key."""


def key_of(method: str, status: int) -> int:
    """The key of the block of ``method`` and ``status``; never 0."""
    index = METHODS.index(method) if method in METHODS else OTHER
    return 1 + index * STATUSES + (status if 100 <= status < STATUSES else 0)


def name_key(key: int) -> tuple[str, str]:
    """Method and status of a key, as labels."""
    index, status = divmod(key - 1, STATUSES)
    return METHODS[index], str(status) if status else "other"


MAX_KEY = len(METHODS) * STATUSES


Count = Callable[[float], None]
"""Counts a response that has ended, so many seconds after its request began."""


class RowWriter:
    """One worker's writing half of its row. Nobody else writes there, and nobody but the supervisor clears it.

    The row is never read back: what this process keeps in its own memory no other process can change, and it costs less.
    """

    __slots__ = ("_cells", "_used", "counters", "messages_received", "messages_sent", "received", "sent")

    def __init__(self, cells: memoryview[float]) -> None:
        """``cells``: the row, WIDTH doubles, all zero."""
        self._cells = cells
        self.received = 0.0
        """Bytes read from clients; shown when the next response ends. So is ``sent``."""
        self.sent = 0.0
        self.messages_received = 0
        """Messages of WebSockets; shown by :meth:`show`. So is ``messages_sent``."""
        self.messages_sent = 0
        self.counters: dict[str, dict[int, Count]] = {}
        """What counts a response, by method and status; a method's name stands here only if it is one of METHODS."""
        self._used = 1

    def counter(self, method: str, status: int) -> Count:
        """What counts responses of this method and status."""
        if method not in METHODS:
            # A client may make up methods without end: none of them is remembered.
            method = METHODS[OTHER]
        known = self.counters.setdefault(method, {})
        if (count := known.get(status)) is not None:
            return count
        if not 100 <= status < STATUSES or self._used >= BLOCKS - len(METHODS):
            # One of the last blocks, which are kept for that.
            status = 0
            if (count := known.get(status)) is not None:
                return count
        block = self._used * BLOCK
        self._used += 1
        self._cells[block] = key_of(method, status)
        known[status] = count = self._make_counter(block)
        return count

    def _make_counter(self, block: int) -> Count:
        """A function with what it counts as variables of its own: an object would cost half as much again (0.15 us)."""
        cells, first, sum_ = self._cells, block + FIRST_BUCKET, block + SECONDS
        received, sent = block + BYTES_RECEIVED, block + BYTES_SENT
        total, fast = 0.0, 0.0
        slow = [0.0] * BUCKETS

        def count(seconds: float) -> None:
            nonlocal total, fast
            # Most are in the first bucket, and are not looked for.
            if seconds <= 0.001:
                fast += 1.0
                cells[first] = fast
            else:
                bucket = bisect_left(BOUNDS, seconds)
                slow[bucket] += 1
                cells[first + bucket] = slow[bucket]
            total += seconds
            cells[sum_] = total
            cells[received] = self.received
            cells[sent] = self.sent

        return count

    def show(self) -> None:
        """Show the bytes and messages that came and went, also while no response ends."""
        cells = self._cells
        cells[Cell.RECEIVED] = self.received
        cells[Cell.SENT] = self.sent
        cells[Cell.MESSAGES_RECEIVED] = self.messages_received
        cells[Cell.MESSAGES_SENT] = self.messages_sent


class Counts:
    """Sums of rows, in this process's own memory."""

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Counts:
        """The counts whose :meth:`state` that is."""
        counts = cls()
        counts.plain, counts.blocks = state["plain"], {key: values for key, *values in state["blocks"]}
        return counts

    def state(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {"plain": self.plain, "blocks": [[key, *values] for key, values in self.blocks.items()]}

    def __init__(self) -> None:
        self.plain = [0.0] * len(Cell)
        self.blocks: dict[int, list[float]] = {}
        """By key: seconds, then the buckets, each for itself."""

    def add_row(self, cells: memoryview[float]) -> None:
        """Add what a worker's row says; nothing that can't be true."""
        received, sent = _count(cells[Cell.RECEIVED]), _count(cells[Cell.SENT])
        for begin, key, values in blocks_of(cells, 1):
            received = max(received, _count(cells[begin + BYTES_RECEIVED]))
            sent = max(sent, _count(cells[begin + BYTES_SENT]))
            self.add(key, values)
        self.plain[Cell.RECEIVED] += received
        self.plain[Cell.SENT] += sent
        for cell in (Cell.MESSAGES_RECEIVED, Cell.MESSAGES_SENT):
            self.plain[cell] += _count(cells[cell])

    def add(self, key: int, values: Iterable[float]) -> None:
        """Add seconds and buckets to those of ``key``."""
        known = self.blocks.get(key)
        self.blocks[key] = list(values) if known is None else list(map(add, known, values))

    def add_all(self, other: Counts) -> None:
        """Add all that ``other`` has."""
        self.plain = [a + b for a, b in zip(self.plain, other.plain, strict=True)]
        for key, values in other.blocks.items():
            self.add(key, values)

    def never_below(self, before: Counts) -> None:
        """Raise whatever is below its value in ``before``: a reader may have met a row that was just being cleared."""
        self.plain = [max(a, b) for a, b in zip(self.plain, before.plain, strict=True)]
        for key, values in before.blocks.items():
            known = self.blocks.get(key)
            self.blocks[key] = values if known is None else [max(a, b) for a, b in zip(known, values, strict=True)]

    def requests(self) -> float:
        """How many responses have ended."""
        return sum(sum(values[1:]) for values in self.blocks.values())

    def server_errors(self) -> float:
        """How many of them had a status of 500 or more."""
        return sum(sum(values[1:]) for key, values in self.blocks.items() if (key - 1) % STATUSES >= 500)

    def durations(self) -> list[float]:
        """How many took how long, by :data:`BOUNDS`, each bucket for itself."""
        return [sum(values[1 + bucket] for values in self.blocks.values()) for bucket in range(BUCKETS)]


def grown(before: Iterable[float], after: Iterable[float]) -> list[float]:
    """How many responses of each duration have ended between two readings of the buckets."""
    return [max(0.0, b - a) for a, b in zip(before, after, strict=False)]


def quantile(buckets: Iterable[float], share: float) -> float | None:
    """The duration in seconds that the ``share`` (0 to 1) of responses stays within, taken as even within a bucket.

    None if there are no responses. What is above the last bound counts as the last bound.
    """
    counts = list(buckets)
    wanted = sum(counts) * share
    if not sum(counts):
        return None
    passed, lower = 0.0, 0.0
    for count, upper in zip(counts, BOUNDS, strict=False):
        if count and passed + count >= wanted:
            return lower + (upper - lower) * (wanted - passed) / count
        passed, lower = passed + count, upper
    return BOUNDS[-1]


def blocks_of(cells: memoryview[float], first: int) -> Iterator[tuple[int, int, list[float]]]:
    """The blocks in ``cells`` from block number ``first`` on, up to the first that has no key.

    Of each: where it begins, its key, seconds and buckets.
    """
    for begin in range(first * BLOCK, len(cells), BLOCK):
        key = cells[begin]
        if not 1 <= key <= MAX_KEY or key != int(key):
            return
        seconds = cells[begin + SECONDS]
        buckets: Sequence[float] = cells[begin + FIRST_BUCKET : begin + FIRST_BUCKET + BUCKETS].tolist()
        # One look at all of them: a sum that can be true has no part that is no number.
        if not (0 <= sum(buckets) <= MAX_COUNT and min(buckets) >= 0):
            buckets = [_count(bucket) for bucket in buckets]
        yield begin, int(key), [seconds if 0 <= seconds <= MAX_SECONDS else 0.0, *buckets]


def _count(value: float) -> float:
    """What a counter's cell says; nothing if it can't be true."""
    return value if 0 <= value <= MAX_COUNT else 0.0


class SharedCells:
    """Doubles in shared memory, all zero at first. Cells that were never touched take no memory.

    On Linux it is a file without a name (memfd_create(2)), so that it can be passed on over an ``execve``.
    """

    def __init__(self, name: str, size: int, fd: int = -1) -> None:
        """``fd``: the file's descriptor, if there is one already."""
        self.fd = fd
        """The file's descriptor; -1 where there is none."""
        if fd < 0 and hasattr(os, "memfd_create"):
            try:
                self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                os.truncate(self.fd, size * 8)
                # A process that inherits it must not shrink it: reading what is gone would kill us (SIGBUS, mmap(2)).
                fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            except OSError:
                # A sandbox may forbid it.
                self.close()
        self.map = mmap.mmap(self.fd, size * 8)
        self.cells: memoryview[float] = memoryview(self.map).cast("d")

    def clear(self, begin: int, size: int) -> None:
        """Make ``size`` cells zero, and give back the memory that they take if they are whole pages."""
        if hasattr(mmap, "MADV_REMOVE"):
            try:
                self.map.madvise(mmap.MADV_REMOVE, begin * 8, size * 8)
                return
            except (OSError, ValueError):
                # The pages are larger, or the kernel can't.
                pass
        self.cells[begin : begin + size] = memoryview(bytes(size * 8)).cast("d")

    def close(self) -> None:
        """Close the file and give the memory up."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if hasattr(self, "map"):
            self.cells.release()
            self.map.close()


class Shown(Protocol):
    """What shows the totals of the departed to other processes (see published.py)."""

    def begin(self) -> None:
        """A change begins."""

    def end(self) -> None:
        """The change is complete."""

    def show_totals(self, departed: Counts, changed: Counts) -> None:
        """The totals have grown by ``changed``."""

    def show_used(self, used: int) -> None:
        """So many rows were ever lent."""


class WorkerCounts:
    """The rows of all workers, by the numbers of the scoreboard's rows; and the totals of the departed."""

    def __init__(self, rows: int, fd: int = -1) -> None:
        """``fd``: the shared memory's descriptor, if there is one already."""
        self._shared = SharedCells("tricorn-counts", (rows + 1) * WIDTH, fd)
        self.departed = Counts()
        """What the workers that are gone have counted. In the supervisor's own memory, where no worker can change it."""
        self.shown: Shown | None = None
        """Is told of every change of the totals."""
        self._used = 0

    @classmethod
    def restored(cls, rows: int, state: Mapping[str, Any]) -> WorkerCounts:
        """Those whose :meth:`state` that is."""
        found = cls(rows, state["fd"])
        found.departed, found._used = Counts.restored(state["departed"]), state["used"]
        return found

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to go on with them, fit for JSON; ``give`` is told of each descriptor."""
        return {"fd": give(self._shared.fd), "departed": self.departed.state(), "used": self._used}

    def show_to(self, shown: Shown) -> None:
        """From now on show the totals by ``shown``."""
        self.shown = shown
        shown.show_used(self._used)
        shown.begin()
        shown.show_totals(self.departed, self.departed)
        shown.end()

    def lend(self, index: int) -> None:
        """A worker is about to get this row."""
        self._used = max(self._used, index)
        if self.shown is not None:
            self.shown.show_used(self._used)

    @property
    def cells(self) -> memoryview[float]:
        """All rows; row n begins at n * WIDTH, and row 0 is unused."""
        return self._shared.cells

    def row(self, index: int) -> memoryview[float]:
        """The row with this number, WIDTH cells."""
        return self._shared.cells[index * WIDTH : (index + 1) * WIDTH]

    def read(self, indices: Iterable[int]) -> Counts:
        """What the rows ``indices`` say, summed."""
        counts = Counts()
        for index in indices:
            counts.add_row(self.row(index))
        return counts

    def fold(self, index: int) -> Counts:
        """A worker is gone: add what its row says to that of the departed, clear the row, and return what it said."""
        counts = self.read([index])
        self.departed.add_all(counts)
        if self.shown is not None:
            self.shown.begin()
            self.shown.show_totals(self.departed, counts)
        self._shared.clear(index * WIDTH, WIDTH)
        if self.shown is not None:
            self.shown.end()
        return counts
