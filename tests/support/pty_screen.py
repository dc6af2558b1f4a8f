"""A program in a real pseudo-terminal, and the screen that its user sees."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyte
from support.harness import PATIENCE, ROOT, environment


class Screen:
    """Runs ``command``; a context manager that ends it."""

    def __init__(
        self, command: Sequence[str], columns: int = 80, lines: int = 24, env: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.output = b""
        """All that the program has written."""
        self._master, self.terminal = os.openpty()
        self._set_size(columns, lines)
        self.modes = termios.tcgetattr(self.terminal)
        """As they were before the program."""
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment({"TERM": "xterm-256color", **env}),
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self.terminal)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        """As when the user pulls at the window's corner: the kernel sends SIGWINCH."""
        self._screen.resize(lines, columns)
        self._set_size(columns, lines)

    def type(self, keys: str) -> None:
        """What the keyboard sends."""
        os.write(self._master, keys.encode())

    def read(self, timeout: float = 0.05) -> None:
        """Take what the program writes, for so many seconds at most."""
        while select.select([self._master], [], [], timeout)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            self.output += data
            self._stream.feed(data)
            timeout = 0

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def reversed_lines(self) -> list[int]:
        """The numbers of the lines whose first character is in reverse video."""
        return [number for number in range(self._screen.lines) if self._screen.buffer[number][0].reverse]

    def wait_for(self, condition: Callable[[Screen], Any], what: str = "") -> Any:
        """Read until ``condition`` is true, and return its value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := condition(self)):
            assert time.monotonic() < deadline, f"waited in vain for {what}; the screen:\n{self.text}"
            self.read()
        return value

    def wait_for_text(self, text: str) -> None:
        self.wait_for(lambda screen: text in screen.text, repr(text))

    def wait_for_end(self) -> int:
        """The exit code; a signal's number, negative, if one has ended it."""
        self.wait_for(lambda screen: screen.process.poll() is not None, "the end")
        self.read()
        return int(self.process.returncode)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        self.process.send_signal(number)

    def is_restored(self) -> bool:
        """Whether the terminal is as it was: its modes, the cursor, the screen of before."""
        is_left = self.output.rfind(b"\x1b[?1049l") > self.output.rfind(b"\x1b[?1049h")
        return is_left and not self._screen.cursor.hidden and termios.tcgetattr(self.terminal) == self.modes
