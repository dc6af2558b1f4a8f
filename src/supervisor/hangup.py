"""What the terminal says through signals that others send, too: that it is gone (SIGHUP), that Ctrl-C was typed (SIGINT).

A SIGHUP is a hang-up if the controlling terminal was lost just before: then the kernel sends it, or the shell, to all its jobs.
Any other SIGHUP is somebody's order to reload. So it is after ``nohup``, ``setsid`` or in a service, where there is no terminal
to lose, and after ``disown``, where the shell sends nothing when it exits.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time

WINDOW = 3.0
"""Seconds from the loss of the terminal in which SIGHUP means this loss; shells and the kernel send it at once."""

GONE = (errno.ENXIO, errno.ENOTTY, errno.EIO)
"""What opening /dev/tty fails with when there is no controlling terminal (tty(4)), or when that has hung up."""


class HangUp:
    """Watches the controlling terminal, without reading from it. Make it before SIGHUP gets a handler."""

    def __init__(self) -> None:
        self.watch: select.epoll | None = None
        """Readable when the terminal is gone; None if there is nothing to watch."""
        self._terminal = -1
        self._lost_at: float | None = None
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._open()

    def _open(self) -> None:
        try:
            self._terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            if hasattr(select, "epoll"):
                self.watch = select.epoll()
                # Nothing is asked for, least of all keys; that it hung up is told all the same (epoll_ctl(2)).
                self.watch.register(self._terminal, 0)
        except OSError:
            # No terminal, or a sandbox where it can't be watched.
            self.close()

    def lost(self) -> None:
        """``watch`` has become readable."""
        self._lost_at = self._lost_at or time.monotonic()

    def is_meant(self) -> bool:
        """Whether a SIGHUP that came now is a hang-up."""
        if self._terminal < 0:
            return False
        if not _is_there():
            self.lost()
        return self._lost_at is not None and time.monotonic() - self._lost_at < WINDOW

    def close(self) -> None:
        if self.watch is not None:
            self.watch.close()
        if self._terminal >= 0:
            os.close(self._terminal)
        self.watch, self._terminal = None, -1


def is_typed() -> bool:
    """Whether a SIGINT that came now may be Ctrl-C: we are in the foreground of a terminal (tcgetpgrp(3))."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _is_there() -> bool:
    """Whether there is a controlling terminal; true if something else, such as too many open files, hides it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in GONE
    return True
