"""Remembers signals from the command's first moment on, until the supervisor handles them.

Without this, a signal in the first fifth of a second would have the system's default effect: a reload would end the process.
Signals that the parent has blocked are unblocked; otherwise they would never arrive.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

from .hangup import HangUp

LATER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""Remembered, and handled when the supervisor listens."""
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Handled at once: nothing is served yet, so the command exits with 0, as it does when it is stopped later."""
BLOCKED = frozenset({signal.SIGTTOU})
"""Blocked except while the supervisor waits. With ``stty tostop``, a background process that writes to the terminal gets
SIGTTOU, which interrupts its write again and again. If the signal is blocked, the write goes on (tty_ioctl(4), TOSTOP)."""

UPGRADE = "TRICORN_UPGRADE"
"""This variable is set by a supervisor that executes a program in its place (see ``upgrade/arrival.py``)."""

_came: list[int] = []
_listening = False
_hang_up: HangUp | None = None


def listen() -> None:
    """Until :func:`take` or :func:`forget`: remember signals, and exit with 0 on those that stop. In the main thread only."""
    global _listening, _hang_up
    _came.clear()
    _listening = True
    _hang_up = HangUp()
    for number in LATER:
        signal.signal(number, _remember)
    for number in STOPS:
        signal.signal(number, _stop)
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)


def take() -> tuple[list[int], HangUp]:
    """The signals that came, in order, and the watch on the terminal. The caller handles signals from now on.

    The handlers stay installed until they are replaced, and do nothing more.
    """
    global _listening, _hang_up
    _listening = False
    hang_up, _hang_up = _hang_up or HangUp(), None
    came = _came.copy()
    _came.clear()
    return came, hang_up


def forget() -> None:
    """If signals are remembered, give them their default effect again: nothing is going to be served."""
    if not _listening:
        return
    take()[1].close()
    for number in (*LATER, *STOPS):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _remember(number: int, frame: FrameType | None) -> None:
    if _listening:
        _came.append(number)


def _stop(number: int, frame: FrameType | None) -> None:
    # Remembered too: an exception raised here is lost if the interpreter is just calling a finalizer.
    _remember(number, frame)
    if _listening:
        _exit()


def _exit() -> NoReturn:
    raise SystemExit(0)
