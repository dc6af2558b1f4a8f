"""The files to which a worker writes stacks when the supervisor asks: one for hangs, one for stalls."""

from __future__ import annotations

import fcntl
import os
from typing import BinaryIO


class ReportFile:
    """A file without a name. On Linux it is sealed: the worker, which inherits it, can't make it grow or shrink."""

    def __init__(self, size: int, notes: int = 0, fd: int = -1) -> None:
        """``size``: bytes that it holds, and that are read at most; behind them is room for ``notes``. Raises OSError.

        ``fd``: its descriptor, if there is one already.
        """
        self._size = size
        self._notes = notes
        self._file = _open(size + notes) if fd < 0 else os.fdopen(fd, "r+b", buffering=0)

    def fileno(self) -> int:
        """Its descriptor, for the worker."""
        return self._file.fileno()

    def begin(self) -> None:
        """Let the worker write from the beginning on: it shares the file's offset with us."""
        try:
            os.lseek(self.fileno(), 0, os.SEEK_SET)
            if written := self.read():
                os.pwrite(self.fileno(), bytes(len(written)), 0)
        except OSError:
            # Perhaps no memory is left. Then there is no report.
            return

    def read(self) -> bytes:
        """What the worker wrote since :meth:`begin`."""
        # pread, because the offset is shared. Where the worker has written nothing there are zeros.
        return os.pread(self.fileno(), self._size, 0).rstrip(b"\0")

    def read_notes(self) -> bytes:
        """The bytes behind the report."""
        return os.pread(self.fileno(), self._notes, self._size)

    def close(self) -> None:
        """Close our descriptor."""
        self._file.close()


def _open(size: int) -> BinaryIO:
    if not hasattr(os, "memfd_create"):
        # Late, because Linux needs none of it.
        import tempfile

        return tempfile.TemporaryFile(buffering=0)
    fd = os.memfd_create("tricorn-report", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.truncate(fd, size)
        # Only written pages use memory. Without seals, a worker could make the file huge, and freeing that would keep us busy.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except OSError:
        # An old kernel, or a sandbox. We read no more than ``size`` all the same.
        pass
    return open(fd, "r+b", buffering=0)
