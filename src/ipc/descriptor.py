"""Writes logs to a descriptor. A log that can't be written, or that no process reads, must not stop the service."""

from __future__ import annotations

import logging
import os
import select
import stat
import sys

PIECE = select.PIPE_BUF
"""Bytes that a descriptor said to be writable takes without blocking (pipe(7))."""
PATIENCE = 0.05
"""Seconds to wait for a slow reader before lines are dropped; only once, until it reads again."""


class Descriptor:
    """``fd``, to which lines are written whole or not at all. Lost lines are counted, and the count is written later."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lost = 0
        """Lines dropped since the last successful write."""
        self._cause = ""
        """Why the first of them was dropped."""
        self._is_torn = False
        """Whether the last line that was written lacks its end."""
        self._look()

    def _look(self) -> None:
        """Look whether ``fd`` is a regular file."""
        try:
            self._is_file = stat.S_ISREG(os.fstat(self.fd).st_mode)
        except OSError:
            self._is_file = False
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLOUT)

    def write(self, data: bytes) -> None:
        """Write ``data``, whole lines."""
        lost = self._lost
        whole = (b"\n" if self._is_torn else b"") + self.note(lost, self._cause) + data if lost else data
        written, cause = self._write(whole)
        if cause is None:
            if lost:
                self._lost, self._is_torn = 0, False
                self.works_again(lost)
            return
        if written:
            self._is_torn = whole[written - 1 : written] != b"\n"
        self._lost += whole[written:][-len(data) :].count(b"\n")
        if not lost:
            self._cause = cause
            self.failed(cause)

    def _write(self, data: bytes) -> tuple[int, str | None]:
        """Write what can be written; returns how much that was, and why the rest was not written (None: all was)."""
        view = memoryview(data)
        while view:
            if not self._is_file and not self._poll.poll(0 if self._lost else PATIENCE * 1000):
                return len(data) - len(view), "no process reads them"
            try:
                # A file takes all at once, so lines of other processes do not come in between.
                view = view[os.write(self.fd, view if self._is_file else view[:PIECE]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                # The disk is full, or the reader is gone.
                return len(data) - len(view), error.strerror or str(error)
        return len(data), None

    def note(self, lost: int, cause: str) -> bytes:
        """The line that says in the log itself how many lines were lost."""
        return f"Log lines lost: {lost} ({cause})\n".encode()

    def failed(self, cause: str) -> None:
        """Called with the first loss."""

    def works_again(self, lost: int) -> None:
        """Called when ``lost`` lines had been lost, and one was written again."""


class StderrHandler(logging.Handler):
    """Logs to standard error as it is at each record: it may become another file."""

    def __init__(self) -> None:
        super().__init__()
        self._descriptor: Descriptor | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it as lost."""
        try:
            text = self.format(record) + "\n"
            try:
                fd = sys.stderr.fileno()
            except (AttributeError, OSError, ValueError):
                # Standard error of a notebook or a test.
                sys.stderr.write(text)
                return
            if self._descriptor is None or self._descriptor.fd != fd:
                self._descriptor = Descriptor(fd)
            sys.stderr.flush()
            self._descriptor.write(text.encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)
