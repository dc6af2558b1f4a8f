"""Waits for saved files, where the kernel is Linux (inotify(7))."""

from __future__ import annotations

import errno
import os
import select
import struct
import sys
from collections.abc import Iterable

MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, UNMOUNT, OVERFLOW, IGNORED, ONLYDIR = 0x400, 0x800, 0x2000, 0x4000, 0x8000, 0x1000000
"""<sys/inotify.h>."""
MASK = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF | ONLYDIR
"""``touch`` counts as saving, and only ATTRIB reports it."""
LOST = DELETE_SELF | MOVE_SELF | UNMOUNT | OVERFLOW | IGNORED
"""After these events the kernel does not report everything any more."""
NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
HEAD = struct.Struct("iIII")
"""``struct inotify_event``: watch, mask, cookie, and the length of the name that follows."""
UNREADABLE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)
"""A directory is gone or not readable. The others can still be watched."""


class InotifyWaiter:
    """Watches ``directories``, each by itself. Raises OSError if the kernel can't, or not that many."""

    def __init__(self, directories: Iterable[str]) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        try:
            import ctypes
        except ImportError as error:
            raise OSError(errno.ENOSYS, "Python was built without ctypes") from error
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise _error(ctypes.get_errno(), "fs.inotify.max_user_instances")
        self._paths: dict[int, set[str]] = {}
        """The paths of each watch. One directory may have several, by symbolic links."""
        for directory in directories:
            watch: int = libc.inotify_add_watch(self._fd, os.fsencode(directory), MASK)
            if watch >= 0:
                self._paths.setdefault(watch, set()).add(directory)
            elif ctypes.get_errno() not in UNREADABLE:
                number = ctypes.get_errno()
                self.close()
                raise _error(number, "fs.inotify.max_user_watches")

    def wait(self, timeout: float) -> set[str] | None:
        """Wait at most ``timeout`` seconds; returns the changed paths, None if everything must be scanned again."""
        if not select.select([self._fd], [], [], timeout)[0]:
            return set()
        found: set[str] = set()
        is_lost = False
        while data := self._read():
            place = 0
            while place < len(data):
                watch, mask, _, size = HEAD.unpack_from(data, place)
                place += HEAD.size + size
                is_lost = is_lost or bool(mask & LOST)
                name = os.fsdecode(data[place - size : place].rstrip(b"\0"))
                found |= {os.path.join(directory, name) for directory in self._paths.get(watch, ())}
        return None if is_lost else found

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._fd)


def _error(number: int, limit: str) -> OSError:
    """The error with this ``number``. The kernel uses those of a full disk and of open files for its own limits."""
    reached = number in (errno.EMFILE, errno.ENOSPC)
    return OSError(number, f"the limit {limit} is reached" if reached else os.strerror(number))
