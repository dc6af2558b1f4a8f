"""Writing logs to a descriptor that nobody may be reading: a log that can't be written must not stop the service."""

from __future__ import annotations

import logging
import os
import select
import sys

PIECE = select.PIPE_BUF
"""Bytes that a descriptor said to be writable takes without blocking (pipe(7))."""
PATIENCE = 0.05
"""Seconds to wait for a slow reader before what is to be written is dropped; only once, until it reads again."""


class Descriptor:
    """``fd``, written to in whole pieces or not at all."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lost = 0
        """Lines dropped since the reader stopped reading."""

    def write(self, data: bytes) -> None:
        """Write ``data``, whole lines; what finds no reader is dropped and counted."""
        if self._lost and self._is_writable(0):
            lost, self._lost = self._lost, 0
            data = b"Log lines lost, for nobody read them: %d\n" % lost + data
        view = memoryview(data)
        while view:
            if not self._is_writable(0 if self._lost else PATIENCE):
                self._lost += bytes(view).count(b"\n")
                return
            try:
                view = view[os.write(self.fd, view[:PIECE]) :]
            except BlockingIOError:
                continue
            except OSError:
                # A full disk, or a reader that is gone.
                return

    def _is_writable(self, seconds: float) -> bool:
        return bool(self._poll.poll(seconds * 1000))


class StderrHandler(logging.Handler):
    """Logs to standard error as it is now, for it may be another file later."""

    def __init__(self) -> None:
        super().__init__()
        self._descriptor: Descriptor | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
            try:
                fd = sys.stderr.fileno()
            except (AttributeError, OSError, ValueError):
                # A notebook's or a test's.
                sys.stderr.write(text)
                return
            if self._descriptor is None or self._descriptor.fd != fd:
                self._descriptor = Descriptor(fd)
            sys.stderr.flush()
            self._descriptor.write(text.encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)
