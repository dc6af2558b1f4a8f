"""Reads the text files that options name, at the start and at each reload."""

from __future__ import annotations

import errno
import os
import stat

PASSED = "/dev/fd/"
"""Where a shell's ``<(command)`` stands: a pipe that the command writes and closes."""


def read(path: str) -> str:
    """The text of the file ``path``, in UTF-8. Raises OSError, UnicodeDecodeError.

    A named pipe or a device is refused: a read of it may never end, and the supervisor would answer no signal meanwhile. Only
    /dev/null, which means no file to many, is empty.
    """
    if path == os.devnull:
        return ""
    waits = 0 if path.startswith(PASSED) else os.O_NONBLOCK
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | waits), encoding="utf-8") as file:
        if waits and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        return file.read()
