"""Tells apart what one signal can mean: SIGHUP a lost terminal or an order to reload, SIGINT Ctrl-C or an order to stop.

SIGHUP is a hang-up if the controlling terminal was lost just before: then the kernel sends it, or the shell sends it to all its
jobs. Any other SIGHUP is an order to reload. So is every SIGHUP after ``nohup`` or ``setsid`` and in a service, where there is
no terminal to lose, and after ``disown``, where the shell sends nothing when it exits.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time

WINDOW = 3.0
"""Seconds after the terminal was lost in which SIGHUP means that loss. Shells and the kernel send it at once."""

GONE = (errno.ENXIO, errno.ENOTTY, errno.EIO)
"""Errors of opening /dev/tty when there is no controlling terminal (tty(4)), or when it has hung up."""


class HangUp:
    """Watches the controlling terminal and reads nothing from it. Must be made before SIGHUP gets a handler."""

    def __init__(self, was_watched: bool | None = None) -> None:
        """``was_watched``: whether the program before us in this process watched the terminal; None: there was none."""
        self.watch: select.epoll | None = None
        """Readable when the terminal is gone; None if there is nothing to watch."""
        self._terminal = -1
        self._lost_at: float | None = None
        if was_watched or (was_watched is None and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN):
            self._open()
        if was_watched and self._terminal < 0:
            self.lost()

    @property
    def is_watched(self) -> bool:
        """Whether there is a terminal, or was one until a moment ago."""
        return self._terminal >= 0 and (self._lost_at is None or time.monotonic() - self._lost_at < WINDOW)

    def _open(self) -> None:
        try:
            self._terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            if hasattr(select, "epoll"):
                self.watch = select.epoll()
                # No event is asked for, because keys are not ours. EPOLLHUP is always reported (epoll_ctl(2)).
                self.watch.register(self._terminal, 0)
        except OSError:
            # There is no terminal, or a sandbox forbids to watch it.
            self.close()

    def lost(self) -> None:
        """Called when ``watch`` is readable: record that the terminal is lost."""
        self._lost_at = self._lost_at or time.monotonic()

    def is_meant(self) -> bool:
        """Whether a SIGHUP that arrives now is a hang-up."""
        if self._terminal < 0 and self._lost_at is None:
            return False
        if self._lost_at is None and not _is_there():
            self.lost()
        return self._lost_at is not None and time.monotonic() - self._lost_at < WINDOW

    def close(self) -> None:
        """Watch no longer."""
        if self.watch is not None:
            self.watch.close()
        if self._terminal >= 0:
            os.close(self._terminal)
        self.watch, self._terminal = None, -1


def is_typed() -> bool:
    """Whether a SIGINT that arrives now may be Ctrl-C: our process group is in the foreground of a terminal (tcgetpgrp(3))."""
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
    """Whether there is a controlling terminal; true as well if it can't be told, as with too many open files."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in GONE
    return True
