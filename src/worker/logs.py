"""The error log (every life-cycle event, every failure; standard error) and the access log (standard output)."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TextIO

from ..config import Config
from ..protocols.http.response import reason

TRACE = 5
LEVELS = {"trace": TRACE, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_RESET = "\x1b[0m"
_COLORS = {TRACE: "\x1b[34m", 10: "\x1b[36m", 20: "\x1b[32m", 30: "\x1b[33m", 40: "\x1b[31m", 50: "\x1b[91m"}


def wants_colors(choice: bool | None, stream: TextIO) -> bool:
    """``choice`` if there is one, else whether ``stream`` is a terminal and NO_COLOR (no-color.org) is not set."""
    return choice if choice is not None else stream.isatty() and not os.environ.get("NO_COLOR")


def level_prefix(level: int, colors: bool) -> str:
    """Uvicorn's prefix: the level's name, a colon, and spaces up to column ten."""
    name = logging.getLevelName(level)
    space = " " * (8 - len(name))
    return f"{_COLORS.get(level, '')}{name}{_RESET}:{space} " if colors else f"{name}:{space} "


class _Formatter(logging.Formatter):
    def __init__(self, colors: bool) -> None:
        super().__init__("%(message)s")
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        return level_prefix(record.levelno, self._colors) + super().format(record)


def configure(config: Config) -> None:
    """Let ``tricorn``'s loggers write to standard error, as the options say."""
    logging.addLevelName(TRACE, "TRACE")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(wants_colors(config.use_colors, sys.stderr)))
    logger = logging.getLogger("tricorn")
    logger.handlers[:] = [handler]
    logger.setLevel(LEVELS[config.log_level])
    logger.propagate = False


class AccessLog:
    """A line for every response, in uvicorn's format, written to a descriptor in one batch per turn of the event loop.

    Formatting through ``logging`` would cost as much as answering the request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, colors: bool) -> None:
        self._loop = loop
        self._fd = fd
        self._prefix = level_prefix(20, colors)
        self._colors = colors
        self._lines: list[str] = []
        self._statuses: dict[int, str] = {}

    def __call__(self, client: str, method: str, path: str, version: str, status: int) -> None:
        if not self._lines:
            self._loop.call_soon(self.flush)
        text = self._statuses.get(status) or self._status(status)
        self._lines.append(f'{self._prefix}{client} - "{method} {path} HTTP/{version}" {text}\n')

    def line(self, text: str) -> None:
        """A line of what is no HTTP response, such as the opening and the end of a WebSocket."""
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(f"{self._prefix}{text}\n")

    def flush(self) -> None:
        """Write what waits. A log that can't be written must not stop the service: the lines are dropped."""
        data = "".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines.clear()
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                # Standard output is a pipe that somebody made non-blocking and nobody empties fast enough.
                return
            except OSError:
                return

    def _status(self, status: int) -> str:
        text = f"{status} {reason(status)}".rstrip()
        if self._colors:
            color = {1: "\x1b[97m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m"}.get(status // 100, "\x1b[91m")
            text = f"{color}{text}{_RESET}"
        return self._statuses.setdefault(status, text)
