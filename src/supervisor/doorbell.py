"""Rings when something happens in one of many directories.

What happened is watchfiles' to tell; but it can only be asked again and again, and an idle process should not wake up fifty
times a second. So we hang up a bell of our own, and ask when it rings.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
from collections.abc import Iterable

MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
"""inotify(7), <sys/inotify.h>; not that something was read or got other permissions."""
NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class Doorbell:
    """One inotify(7) descriptor. Raises OSError where there is none to be had, or not for so many directories."""

    def __init__(self, directories: Iterable[str]) -> None:
        if sys.platform != "linux":
            raise OSError("inotify is Linux'")
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        mask = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
        for directory in directories:
            if libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
                self.close()
                raise OSError(ctypes.get_errno(), "inotify_add_watch", directory)

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds; whether it rang."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return False
        try:
            while os.read(self._fd, 65536):
                pass
        except BlockingIOError:
            pass
        return True

    def close(self) -> None:
        os.close(self._fd)
