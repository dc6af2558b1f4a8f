"""The file that holds the supervisor's process id, for other tools. Its owner is known by a lock, not by the number."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat

from ..config.identity import Identity, rights_for
from ..errors import SystemRefused

logger = logging.getLogger("tricorn.error")

MAX_SIZE = 20
"""Bytes of the file that are read for its owner's number: more than any number has."""


class PidFile:
    """Locked and open while the supervisor lives.

    The lock is a record lock (fcntl(2)): it belongs to this process alone, not to those that it forks; it ends with the
    process, however that ends, and outlasts execve(2). Closing any descriptor of the file would end it, so nothing here opens
    it twice.
    """

    def __init__(self, path: str, identity: Identity | None, descriptor: int | None = None) -> None:
        """Lock the file and write the number. Raises SystemRefused if it can't be written, or another supervisor holds it.

        ``descriptor``: the file's, if this process has locked it already, before an execve.
        """
        self.path = os.path.abspath(path)
        self._named = f"--pid-file {path}"
        self._identity = identity
        if descriptor is not None:
            self._descriptor = descriptor
            return
        try:
            with rights_for(self.path, identity):
                self._descriptor = self._take()
            # A reader in between finds nothing rather than a wrong number.
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            cause = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror or error
            raise SystemRefused(f"{self._named}: {cause}") from None

    def _take(self) -> int:
        """Open and lock the file; returns its descriptor. Raises OSError, SystemRefused."""
        while True:
            # Non-blocking, because opening a FIFO would wait for its other end.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o644)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise SystemRefused(f"{self._named}: is not a regular file")
                self._lock(descriptor)
                if _is_at(self.path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            # Its owner has just removed it.
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            holder = os.pread(descriptor, MAX_SIZE, 0).strip()
            who = f"process {holder.decode()}" if holder.isdigit() else "another server"
            raise SystemRefused(f"{self._named}: {who} holds it and is alive") from None

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._descriptor

    def remove(self) -> None:
        """At the end: remove the file, if it is still ours."""
        try:
            with rights_for(self.path, self._identity):
                if _is_at(self.path, self._descriptor):
                    os.unlink(self.path)
        except OSError as error:
            # Its lock is released, so the next start replaces it.
            logger.warning("%s stays behind: %s", self._named, error.strerror)
        self.close()

    def close(self) -> None:
        """Close the file; in the process that locked it, this ends the lock."""
        os.close(self._descriptor)


def _is_at(path: str, descriptor: int) -> bool:
    """Whether ``path`` is the file that ``descriptor`` refers to."""
    ours = os.fstat(descriptor)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
