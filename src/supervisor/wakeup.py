"""Signals, child exits, channels and timers become one wait.

Signal handlers do nothing. The interpreter writes the signal's number to a socket (:func:`signal.set_wakeup_fd`), and one
selector watches that socket beside the channels. So a signal is answered as soon as the loop comes back, in the order of
arrival, and nothing ever runs in a handler.
"""

from __future__ import annotations

import logging
import selectors
import signal
import socket
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any, BinaryIO, Protocol

from . import early, hangup
from .orders import Order, Reload, Reopen, Resize, Stop, StopNow, Upgrade
from .own_descriptors import OwnDescriptors

logger = logging.getLogger("tricorn.error")

ORDERS: Mapping[int, Order] = {
    signal.SIGTERM: Stop(),
    signal.SIGINT: Stop(delayed=False),
    signal.SIGQUIT: StopNow(),
    signal.SIGHUP: Reload(),
    signal.SIGTTIN: Resize(+1),
    signal.SIGTTOU: Resize(-1),
    signal.SIGUSR1: Reopen(),
    signal.SIGUSR2: Upgrade(),
}
"""The order that each signal means, unless the terminal sent it."""


class Attended(Protocol):
    """What is called when its socket is readable or takes data again."""

    def attend(self, now: float) -> None:
        """Read or send, a little; never waits. ``now`` is in seconds of CLOCK_MONOTONIC."""


Speaker = int | str | tuple[str, int] | Attended
"""A worker by its id, an auxiliary by its name, a template by that word and its id, or a part of the control socket."""

_SIGNALS, _TERMINAL, _PARENT = object(), object(), object()
"""What else the selector watches."""

DEFAULT_IN_CHILDREN = (signal.SIGCHLD, signal.SIGQUIT)
IGNORED_IN_CHILDREN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ignored until the child sets its own handlers: Ctrl-C goes to the whole process group, systemd sends TERM to all of it, and
USR1 or USR2 may come before the child listens to them."""
REFUSED_IN_CHILDREN = (signal.SIGTTIN, signal.SIGTTOU)
MAX_WAIT = 86400.0
"""Seconds after which a wait ends even if nothing happened: epoll(7) takes no more than a few weeks."""
MAX_SPEAKERS = 16
"""Processes that are attended in one wake-up, a few milliseconds each at most. Signals come first; the rest waits its turn."""


def do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler rather than SIG_IGN: programs that the application starts would inherit SIG_IGN, but not a handler."""


class Wakeup:
    """The one wait. Must be made in the main thread; takes over the process's signals until :meth:`close`.

    ``parent`` is a socket whose other end another process holds; the end of that process is an order to stop. What is opened
    here is kept in ``own``.
    """

    def __init__(
        self, own: OwnDescriptors, parent: socket.socket | None = None, before: Mapping[str, Any] | None = None
    ) -> None:
        """``before``: the :meth:`state` of the program that was executed in this process before. It has blocked all signals.

        Then they stay blocked until :meth:`listen`.
        """
        self._own = own
        self._selector = own.keep(selectors.DefaultSelector())
        self._left: list[Speaker] = []
        """Speakers that were not attended last time, so that they are first now."""
        self._reader, self._writer = map(own.keep, socket.socketpair())
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ, _SIGNALS)
        if parent is not None:
            self._selector.register(own.keep(parent), selectors.EVENT_READ, _PARENT)
        # A full socket is no loss: it wakes us as well, and every wake-up looks at everything.
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        if before is None:
            came, hang_up = early.take()
        else:
            came, hang_up = before["signals"], hangup.HangUp(before["watches_terminal"])
        self._hang_up = own.keep(hang_up)
        self._handlers = {number: signal.signal(number, do_nothing) for number in (*ORDERS, signal.SIGCHLD)}
        self._mask: Iterable[int] = ()
        if before is None:
            self._mask = signal.pthread_sigmask(signal.SIG_SETMASK, early.BLOCKED)
        # What came before we listened is heard as if it came now.
        self._writer.send(bytes(came))
        if hang_up.watch is not None:
            self._selector.register(hang_up.watch, selectors.EVENT_READ, _TERMINAL)

    def watch(self, channel: socket.socket | BinaryIO, speaker: Speaker, has_unsent: bool = False, reads: bool = True) -> None:
        """Let :meth:`wait` return ``speaker`` when there is something to read from ``channel``, if it ``reads``.

        With ``has_unsent`` also when ``channel`` takes data again. One of the two must be true. Call it again to change that.
        """
        events = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if has_unsent else 0)
        known = self._selector.get_map().get(channel)
        if known is not None:
            if (known.events, known.data) != (events, speaker):
                self._selector.modify(channel, events, speaker)
        else:
            self._selector.register(channel, events, speaker)

    def forget(self, channel: socket.socket | BinaryIO) -> None:
        """Watch ``channel`` no more; does nothing if it isn't watched."""
        try:
            self._selector.unregister(channel)
        except KeyError:
            pass

    def wait(self, timeout: float | None) -> tuple[list[Order], list[Speaker]]:
        """Wait ``timeout`` seconds at most (None: for ever); returns the orders that came, and the speakers to attend now."""
        orders: list[Order] = []
        speakers: list[Speaker] = []
        for key in self._select(min(MAX_WAIT, timeout) if timeout is not None else None):
            if key.data is _SIGNALS:
                numbers = self._read()
                orders += [self._order(number) for number in numbers if number in ORDERS]
            elif key.data is _PARENT:
                logger.error("The program that started the supervisor is gone")
                self._selector.unregister(key.fileobj)
                orders.append(Stop(delayed=False))
            elif key.data is _TERMINAL:
                self._hang_up.lost()
                self._selector.unregister(key.fileobj)
            else:
                speakers.append(key.data)
        # The selector finds the others again next time.
        speakers.sort(key=lambda speaker: speaker not in self._left)
        self._left = speakers[MAX_SPEAKERS:]
        return orders, speakers[:MAX_SPEAKERS]

    def _select(self, timeout: float | None) -> list[selectors.SelectorKey]:
        """Wait for what the selector watches. SIGTTOU is heard only here (see ``early.BLOCKED``)."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, early.BLOCKED)
        try:
            return [key for key, _ in self._selector.select(timeout)]
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, early.BLOCKED)

    def _order(self, number: int) -> Order:
        """The order that the signal ``number`` means."""
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

    def hold(self) -> dict[str, Any]:
        """Let no signal through from now on: those that come wait with the kernel, also over an execve (signal(7)).

        Returns what another ``Wakeup`` needs to go on, fit for JSON; signals that came and were not answered are in it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return {"signals": [*self._read()], "watches_terminal": self._hang_up.is_watched}

    def listen(self, state: Mapping[str, Any] | None = None) -> None:
        """Let signals through again. ``state``: what :meth:`hold` has returned, if that was not passed on."""
        if state is not None and state["signals"]:
            self._writer.send(bytes(state["signals"]))
        signal.pthread_sigmask(signal.SIG_SETMASK, early.BLOCKED)

    def close(self) -> None:
        """Give the signals back as they were, and close what was opened."""
        signal.set_wakeup_fd(self._before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for opened in (self._hang_up, self._selector, self._reader, self._writer):
            self._own.close(opened)

    def leave_to_child(self) -> None:
        """In a process just forked, with all signals blocked: let no signal reach the supervisor, nor end the child."""
        signal.set_wakeup_fd(-1)
        dispositions: list[tuple[tuple[int, ...], Any]] = [
            (DEFAULT_IN_CHILDREN, signal.SIG_DFL),
            (IGNORED_IN_CHILDREN, do_nothing),
            # Not do_nothing: a program in the background that reads from the terminal would be interrupted for ever.
            (REFUSED_IN_CHILDREN, signal.SIG_IGN),
        ]
        for numbers, disposition in dispositions:
            for number in numbers:
                signal.signal(number, disposition)
