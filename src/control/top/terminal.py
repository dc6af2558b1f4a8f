"""A terminal that is drawn on as a whole, and given back as it was however the program ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Show the other screen, hide the cursor, do not wrap long lines (xterm's control sequences)."""
LEAVE = "\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end the program, besides Ctrl-C, which raises KeyboardInterrupt."""
READ_SIZE = 1024


class Ended(Exception):
    """A signal came that ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number
        """The exit code by which shells report the signal."""


def is_usable() -> bool:
    """Whether standard input and output are a terminal on which lines can be overwritten."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Terminal:
    """A context manager; inside, keys come one by one, and the screen is ours. Standard input and output are the terminal."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._shown: list[str] = []
        """The lines that are on the screen; empty if that is not known."""
        self._size = (0, 0)
        self._modes: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._woken, self._wake = socket.socketpair()

    def __enter__(self) -> Terminal:
        self._modes = termios.tcgetattr(self._fd)
        try:
            self._begin()
        except BaseException:
            # A signal may come in the middle.
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        # A handler for each, because only handled signals are written to the socket.
        self._handlers = {number: signal.signal(number, self._end) for number in ENDING}
        for number, handler in ((signal.SIGWINCH, self._forget), (signal.SIGTSTP, self._suspend)):
            self._handlers[number] = signal.signal(number, handler)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._take()

    def __exit__(self, *_: object) -> None:
        # Nothing may come between: a second signal must not leave the terminal as it is.
        signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, signal.SIGINT))
        signal.set_wakeup_fd(-1)
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._woken.close()
        self._wake.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ENDING, signal.SIGINT))

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._out)
        except OSError:
            columns, lines = 0, 0
        # A terminal that does not tell its size gets the customary one.
        return columns or 80, lines or 24

    def show(self, lines: Sequence[str]) -> None:
        """Draw what has changed since the last time. Raises OSError if the terminal is gone."""
        if self.size() != self._size:
            self._size, self._shown = self.size(), []
        pieces = [] if self._shown else ["\x1b[2J"]
        before = self._shown or [""] * len(lines)
        for number, line in enumerate(lines):
            if number >= len(before) or line != before[number]:
                pieces.append(f"\x1b[{number + 1};1H{line}\x1b[K")
        self._shown = list(lines)
        self._write("".join(pieces))

    def redraw(self) -> None:
        """Draw everything next time."""
        self._shown = []

    def wait(self, other: int, timeout: float) -> tuple[bytes, bool]:
        """Wait for keys, a change of the size, or data on the descriptor ``other``, ``timeout`` seconds at most.

        Returns what was typed and whether ``other`` can be read. Raises EOFError when the terminal is gone.
        """
        ready, _, _ = select.select([self._fd, self._woken, other], [], [], max(0.0, timeout))
        if self._woken in ready:
            self._woken.recv(READ_SIZE)
        typed = b""
        if self._fd in ready:
            typed = os.read(self._fd, READ_SIZE)
            if not typed:
                raise EOFError
        return typed, other in ready

    def _take(self) -> None:
        tty.setcbreak(self._fd, termios.TCSADRAIN)
        self._write(ENTER)
        self._shown = []

    def _give_back(self) -> None:
        # If the terminal is gone, there is nothing to restore.
        with contextlib.suppress(OSError, termios.error):
            self._write(LEAVE)
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._out, data) :]

    @staticmethod
    def _end(number: int, frame: FrameType | None) -> NoReturn:
        raise Ended(number)

    def _forget(self, number: int, frame: FrameType | None) -> None:
        self._shown = []

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: give the terminal back while the shell has it."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
