"""Files that log lines are appended to, and opened again when somebody has moved them away (USR1)."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Mapping

from ..config.identity import Identity, rights_for
from ..config.options import flag
from ..errors import ConfigError
from ..ipc.descriptor import Descriptor

MAX_FILES = 2
"""Options that name log files: one for errors, one for requests."""
_opened: dict[str, LogFile] = {}
"""By option. Opened in the supervisor, inherited by workers."""


class LogFile(Descriptor):
    """Its descriptor stays the same for ever, so whoever writes need not know when it is opened again."""

    def __init__(self, option: str, path: str, identity: Identity | None) -> None:
        """``option`` names it; it is opened as :func:`rights_for` ``identity`` says. Raises OSError."""
        self.option = option
        # Absolute, for nobody promises that the working directory stays the same.
        self.path = os.path.abspath(path)
        self._identity = identity
        super().__init__(self._open())

    def _open(self) -> int:
        # Appending is atomic, so all workers can write to one file (write(2), O_APPEND). Non-blocking, for a FIFO that nobody
        # reads would stop us here and at every line.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        with rights_for(self.path, self._identity):
            return os.open(self.path, flags, 0o644)

    def reopen(self) -> None:
        """Raises OSError, and goes on with the file as it was."""
        self.adopt(self._open())

    def adopt(self, descriptor: int) -> None:
        """Go on with the file of ``descriptor``, which is closed."""
        os.dup2(descriptor, self.fd, inheritable=False)
        os.close(descriptor)
        self._is_torn = False
        self._look()

    def close(self) -> None:
        os.close(self.fd)

    def note(self, lost: int, cause: str) -> bytes:
        # It would lack what each line of the log begins with, and may be JSON.
        return b""

    def failed(self, cause: str) -> None:
        text = f"{flag(self.option)} {self.path}: {cause}; log lines are lost until it can be written again"
        if self.option != "error_log_file":
            logging.getLogger("tricorn.error").error("%s", text)
        elif sys.stderr is not None:
            try:
                print(f"ERROR:    {text}", file=sys.stderr, flush=True)
            except (OSError, ValueError):
                # There is nobody left to tell.
                return

    def works_again(self, lost: int) -> None:
        text = "%s %s: can be written again; log lines lost by this process: %d"
        logging.getLogger("tricorn.error").warning(text, flag(self.option), self.path, lost)


def open_for(option: str, path: str | None, identity: Identity | None = None) -> LogFile | None:
    """The file of ``option`` (a field's name), opened if it is not yet; None without a path. Raises ConfigError."""
    known = _opened.get(option)
    if known is not None and path is not None and known.path == os.path.abspath(path):
        return known
    try:
        file = LogFile(option, path, identity) if path is not None else None
    except OSError as error:
        cause = "nobody reads this FIFO" if error.errno == errno.ENXIO else error.strerror or error
        raise ConfigError(f"{flag(option)} {path}: {cause}") from None
    if known is not None:
        known.close()
        del _opened[option]
    if file is not None:
        _opened[option] = file
    return file


def reopen() -> dict[str, int]:
    """Open all again; returns their descriptors, by option. A signal's handler may call it in the middle of anything."""
    for option, file in _opened.items():
        try:
            file.reopen()
        except OSError as error:
            logging.getLogger("tricorn.error").error("%s %s: %s", flag(option), file.path, error.strerror)
    return {option: file.fd for option, file in _opened.items()}


def adopt(descriptors: Mapping[str, int]) -> None:
    """Log to the files of these ``descriptors``, by option, from now on."""
    for option, descriptor in descriptors.items():
        if option in _opened:
            _opened[option].adopt(descriptor)
        else:
            os.close(descriptor)


class FileHandler(logging.Handler):
    """Writes each record to a log file in one piece."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.write((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)
