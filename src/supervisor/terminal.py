"""Gives the terminal back as it was: a worker that is killed at a debugger's prompt leaves it without echo."""

from __future__ import annotations

import os
import sys
from typing import Any


class Terminal:
    """Remembers the settings of the terminal that is standard input; does nothing if there is none."""

    def __init__(self) -> None:
        self._attributes: list[Any] | None = None
        try:
            self._fd = sys.stdin.fileno()
            if os.isatty(self._fd):
                import termios

                self._attributes = termios.tcgetattr(self._fd)
        except (AttributeError, OSError, ValueError):
            # Standard input is closed, or no file at all.
            return

    def restore(self) -> None:
        """Set it as it was, if we are in the foreground: a background process must not touch it (tcsetattr(3), SIGTTOU)."""
        if self._attributes is None:
            return
        import termios

        try:
            if os.tcgetpgrp(self._fd) == os.getpgrp():
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._attributes)
        except (OSError, termios.error):
            return
