"""Files that log lines are appended to, and opened again when somebody has moved them away (USR1)."""

from __future__ import annotations

import logging
import os

from ..config import ConfigError, flag

_opened: dict[str, LogFile] = {}
"""By option. Opened in the supervisor, inherited by workers."""


class LogFile:
    """Its descriptor stays the same for ever, so whoever writes need not know when it is opened again."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        # Absolute, for nobody promises that the working directory stays the same.
        self.path = os.path.abspath(path)
        self.descriptor = self._open()

    def _open(self) -> int:
        # Appending is atomic, so all workers can write to one file (write(2), O_APPEND).
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def reopen(self) -> None:
        """Raises OSError, and goes on with the file as it was."""
        new = self._open()
        os.dup2(new, self.descriptor, inheritable=False)
        os.close(new)

    def close(self) -> None:
        os.close(self.descriptor)


def open_for(option: str, path: str | None) -> LogFile | None:
    """The file of ``option`` (a field's name), opened if it is not yet; None without a path. Raises ConfigError."""
    known = _opened.get(option)
    if known is not None and path is not None and known.path == os.path.abspath(path):
        return known
    try:
        file = LogFile(path) if path is not None else None
    except OSError as error:
        raise ConfigError(f"{flag(option)} {path}: {error.strerror or error}") from None
    if known is not None:
        known.close()
        del _opened[option]
    if file is not None:
        _opened[option] = file
    return file


def reopen() -> None:
    """Open all again. May be called in the middle of anything, for instance by a signal's handler."""
    for option, file in _opened.items():
        try:
            file.reopen()
        except OSError as error:
            logging.getLogger("tricorn.error").error("%s %s: %s", flag(option), file.path, error.strerror)


class FileHandler(logging.Handler):
    """Writes each record to a log file in one piece."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(self._file.descriptor, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)
