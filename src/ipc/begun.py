"""The requests that a worker began last, in the file of its hang report: what is known when C code crashes it.

No Python runs then, so they must stand there before. Noting one costs 0.2 microseconds, which is a hundredth of a request. So a
request for the same target as the one before is not noted again, and comparing the targets costs a tenth of that.
"""

from __future__ import annotations

import mmap
import struct
from itertools import count

from .text import one_line

REPORT_SIZE = 1024 * 1024
"""Bytes of a hang report, thousands of stack frames. The notes stand behind it."""
NOTES = 16
"""Requests that are remembered."""
_NOTE = struct.Struct("<Q120s")
"""Its number, from 1 on, and method and path, cut."""
SIZE = NOTES * _NOTE.size
"""Bytes that they take."""


class Begun:
    """Where a worker notes them: at ``offset`` of the file ``fd``, a multiple of the page size. Raises OSError, ValueError."""

    def __init__(self, fd: int, offset: int) -> None:
        self._memory = mmap.mmap(fd, SIZE, offset=offset)
        self._numbers = count(1)
        self.last = b""
        """The target noted last. A path may hold a secret, as in the access log; it stays until others take its place."""

    def note(self, method: str, target: bytes) -> None:
        """A request begins. Its query is left out: it may hold secrets."""
        self.last = target
        number = next(self._numbers)
        text = method.encode("ascii", "replace") + b" " + target.partition(b"?")[0]
        _NOTE.pack_into(self._memory, number % NOTES * _NOTE.size, number, text)


def read(data: bytes) -> list[str]:
    """The requests in ``data``, the one that began last first. A worker may have written anything there."""
    notes = sorted(_NOTE.iter_unpack(data[: len(data) // _NOTE.size * _NOTE.size]), reverse=True)
    texts = [text.rstrip(b"\0").decode("ascii", "replace") for number, text in notes if number]
    return [one_line(text) for text in dict.fromkeys(texts)]
