"""Signals from the command's first moment on, before there is a supervisor that answers them.

Without this, a signal in the first fifth of a second would do what the system does by default: a reload would end the process.
Signals that the parent has blocked are unblocked, or nobody would ever hear of them.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

from .hangup import HangUp

LATER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""What is answered as soon as somebody listens."""
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""What is answered at once: nothing is served yet, so the command ends, as it does when it is stopped later."""
BLOCKED = frozenset({signal.SIGTTOU})
"""Blocked but while the supervisor waits: with ``stty tostop`` the kernel sends SIGTTOU to a process in the background that
writes to the terminal, and interrupts the write, again and again; but not if the signal is blocked (tty_ioctl(4), TOSTOP)."""

_came: list[int] = []
_listening = False
_hang_up: HangUp | None = None


def listen() -> None:
    """Remember signals, or exit with 0 for those that stop, until :func:`take` or :func:`forget`. In the main thread."""
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
    """The signals that came, in order, for the caller, who answers signals from now on; with them the terminal as it was first.

    The handlers stay as they are until replaced, and do nothing more.
    """
    global _listening, _hang_up
    _listening = False
    hang_up, _hang_up = _hang_up or HangUp(), None
    came = _came.copy()
    _came.clear()
    return came, hang_up


def forget() -> None:
    """Let signals do what they do by default, if we listen: nothing is going to be served."""
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
    # Remembered too, for what is raised here is lost where the interpreter calls a finalizer.
    _remember(number, frame)
    if _listening:
        _exit()


def _exit() -> NoReturn:
    raise SystemExit(0)
