"""Waits for saved files, where the kernel is Linux (inotify(7))."""

from __future__ import annotations

import ctypes
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
"""A new time of modification is news (``touch``), and only ATTRIB tells of it."""
LOST = DELETE_SELF | MOVE_SELF | UNMOUNT | OVERFLOW | IGNORED
"""After these the kernel does not tell everything any more."""
NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
HEAD = struct.Struct("iIII")
"""``struct inotify_event``: watch, mask, cookie, and the length of the name that follows."""
UNREADABLE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)
"""A directory that is gone or not ours; the others can be watched all the same."""


class InotifyWaiter:
    """Watches ``directories``, each by itself. Raises OSError where the kernel can't, or not so many."""

    def __init__(self, directories: Iterable[str]) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise _error("fs.inotify.max_user_instances")
        self._paths: dict[int, set[str]] = {}
        """Of each watch; one directory may have several, by symbolic links."""
        for directory in directories:
            watch: int = libc.inotify_add_watch(self._fd, os.fsencode(directory), MASK)
            if watch >= 0:
                self._paths.setdefault(watch, set()).add(directory)
            elif ctypes.get_errno() not in UNREADABLE:
                error = _error("fs.inotify.max_user_watches")
                self.close()
                raise error

    def wait(self, timeout: float) -> set[str] | None:
        """Wait at most ``timeout`` seconds; the paths of which there is news, None if everything must be looked at again."""
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
        os.close(self._fd)


def _error(limit: str) -> OSError:
    """What the last call failed with; the kernel has the same numbers for its limits as for full disks and open files."""
    number = ctypes.get_errno()
    reached = number in (errno.EMFILE, errno.ENOSPC)
    return OSError(number, f"the limit {limit} is reached" if reached else os.strerror(number))
