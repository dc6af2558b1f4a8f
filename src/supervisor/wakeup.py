"""Signals, child exits, channels and timers become one wait.

Signal handlers do nothing; the interpreter writes the signal's number to a socket (:func:`signal.set_wakeup_fd`), which one
selector watches beside the workers' channels. So a signal is answered as soon as the loop comes back, in the order of
arrival, and nothing ever runs in a handler.
"""

from __future__ import annotations

import logging
import selectors
import signal
import socket
from collections.abc import Mapping
from types import FrameType
from typing import Any

from . import early, hangup
from .orders import Order, Reload, Reopen, Resize, Stop, StopNow

logger = logging.getLogger("tricorn.error")

ORDERS: Mapping[int, Order] = {
    signal.SIGTERM: Stop(),
    signal.SIGINT: Stop(delayed=False),
    signal.SIGQUIT: StopNow(),
    signal.SIGHUP: Reload(),
    signal.SIGTTIN: Resize(+1),
    signal.SIGTTOU: Resize(-1),
    signal.SIGUSR1: Reopen(),
}
"""What each signal asks of the fleet, unless the terminal has sent it."""

Speaker = int | str
"""A worker by its id, or a companion by its name."""

_SIGNALS, _TERMINAL, _PARENT = object(), object(), object()
"""What else the selector watches."""

DEFAULT_IN_WORKERS = (signal.SIGCHLD, signal.SIGQUIT)
IGNORED_IN_WORKERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Until the worker sets its own: Ctrl-C goes to the whole group, systemd sends TERM to all of it, and USR1 or USR2 may be sent
before it listens to them."""
LONGEST_WAIT = 86400.0
"""Seconds after which a wait ends for nothing: epoll(7) takes no more than a few weeks, and a day is as good as for ever."""
SPEAKERS_AT_ONCE = 16
"""Processes heard in one wake-up, a few milliseconds each at most; signals come before, and the others next time."""
REFUSED_IN_WORKERS = (signal.SIGTTIN, signal.SIGTTOU)


def do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler rather than SIG_IGN: programs that the application starts would inherit that, but not this."""


class Wakeup:
    """The one wait. Must be made in the main thread; takes over the process's signals until :meth:`close`.

    ``parent`` is a socket whose other end another process holds; that this process ends is an order to stop.
    """

    def __init__(self, parent: socket.socket | None = None) -> None:
        self._selector = selectors.DefaultSelector()
        self._left: list[Speaker] = []
        """Those who spoke and were not heard last time, so that they are first now."""
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ, _SIGNALS)
        self._parent = parent
        if parent is not None:
            self._selector.register(parent, selectors.EVENT_READ, _PARENT)
        # A full socket is no loss: it wakes us as well, and every wake-up looks at everything.
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        came, self._hang_up = early.take()
        self._handlers = {number: signal.signal(number, do_nothing) for number in (*ORDERS, signal.SIGCHLD, signal.SIGUSR2)}
        self._mask = signal.pthread_sigmask(signal.SIG_SETMASK, early.BLOCKED)
        # What came before we listened is heard as if it came now.
        self._writer.send(bytes(came))
        if self._hang_up.watch is not None:
            self._selector.register(self._hang_up.watch, selectors.EVENT_READ, _TERMINAL)

    def watch(self, channel: socket.socket, speaker: Speaker) -> None:
        """Let :meth:`wait` return ``speaker`` when there is something to read from ``channel``."""
        self._selector.register(channel, selectors.EVENT_READ, speaker)

    def forget(self, channel: socket.socket) -> None:
        """Watch ``channel`` no more; does nothing if it isn't watched."""
        try:
            self._selector.unregister(channel)
        except KeyError:
            pass

    def wait(self, timeout: float | None) -> tuple[list[Order], list[Speaker]]:
        """Wait at most ``timeout`` seconds (None: for ever); returns the orders that came, and who is to be heard now."""
        orders: list[Order] = []
        speakers: list[Speaker] = []
        for key in self._select(min(LONGEST_WAIT, timeout) if timeout is not None else None):
            if key.data is _SIGNALS:
                numbers = self._read()
                orders += [self._order(number) for number in numbers if number in ORDERS]
                if signal.SIGUSR2 in numbers:
                    logger.warning("SIGUSR2: replacing the supervisor itself is not there yet; nothing is done")
            elif key.data is _PARENT:
                logger.error("The program that started the supervisor is gone")
                self._selector.unregister(key.fileobj)
                orders.append(Stop(delayed=False))
            elif key.data is _TERMINAL:
                self._hang_up.lost()
                self._selector.unregister(key.fileobj)
            else:
                speakers.append(key.data)
        # The kernel tells again of those that are left.
        speakers.sort(key=lambda speaker: speaker not in self._left)
        self._left = speakers[SPEAKERS_AT_ONCE:]
        return orders, speakers[:SPEAKERS_AT_ONCE]

    def _select(self, timeout: float | None) -> list[selectors.SelectorKey]:
        """Wait for what the selector watches. Only in here SIGTTOU is heard (see early.BLOCKED)."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, early.BLOCKED)
        try:
            return [key for key, _ in self._selector.select(timeout)]
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, early.BLOCKED)

    def _order(self, number: int) -> Order:
        """What the signal ``number`` asks of the fleet."""
        if number == signal.SIGINT:
            return Stop(delayed=False, typed=hangup.is_typed())
        if number == signal.SIGHUP and self._hang_up.is_meant():
            logger.info("The terminal is gone")
            return Stop(delayed=False)
        return ORDERS[number]

    def _read(self) -> bytes:
        try:
            return self._reader.recv(4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        signal.set_wakeup_fd(self._before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        self.close_descriptors()

    def close_descriptors(self) -> None:
        self._hang_up.close()
        self._selector.close()
        self._reader.close()
        self._writer.close()
        if self._parent is not None:
            self._parent.close()

    def leave_to_worker(self) -> None:
        """In a worker just forked, with all signals blocked: undo everything, so that no signal reaches the supervisor's."""
        signal.set_wakeup_fd(-1)
        dispositions: list[tuple[tuple[int, ...], Any]] = [
            (DEFAULT_IN_WORKERS, signal.SIG_DFL),
            (IGNORED_IN_WORKERS, do_nothing),
            # Not do_nothing: a program in the background that reads the terminal would be interrupted for ever.
            (REFUSED_IN_WORKERS, signal.SIG_IGN),
        ]
        for numbers, disposition in dispositions:
            for number in numbers:
                signal.signal(number, disposition)
        self.close_descriptors()
