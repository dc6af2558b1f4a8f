"""Log files: lines are appended, and SIGUSR1 opens the files again after they were moved away."""

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
"""Options that name log files: ``--error-log-file`` and ``--access-log-file``."""
_opened: dict[str, LogFile] = {}
"""By option. The supervisor opens them, workers inherit them."""


class LogFile(Descriptor):
    """A log file. Its descriptor never changes, so writers need not know when the file is opened again."""

    def __init__(self, option: str, path: str, identity: Identity | None) -> None:
        """Open the file of ``option`` with the rights that :func:`rights_for` gives for ``identity``. Raises OSError."""
        self.option = option
        # Absolute, because the working directory may change.
        self.path = os.path.abspath(path)
        self._identity = identity
        super().__init__(self._open())

    def _open(self) -> int:
        # Appending is atomic, so all workers can write to one file (write(2), O_APPEND). A FIFO without a reader would block
        # here and at every line, so the descriptor is non-blocking.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        with rights_for(self.path, self._identity):
            return os.open(self.path, flags, 0o644)

    def reopen(self) -> None:
        """Open the file again. Raises OSError; then the old file stays in use."""
        self.adopt(self._open())

    def adopt(self, descriptor: int) -> None:
        """Use the file of ``descriptor`` from now on. ``descriptor`` itself is closed."""
        os.dup2(descriptor, self.fd, inheritable=False)
        os.close(descriptor)
        self._is_torn = False
        self._look()

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def note(self, lost: int, cause: str) -> bytes:
        """Nothing: the note would lack the beginning that every line of the log has, and the log may be JSON."""
        return b""

    def failed(self, cause: str) -> None:
        """Say elsewhere that lines are lost."""
        text = f"{flag(self.option)} {self.path}: {cause}; log lines are lost until it can be written again"
        if self.option != "error_log_file":
            logging.getLogger("tricorn.error").error("%s", text)
        elif sys.stderr is not None:
            try:
                print(f"ERROR:    {text}", file=sys.stderr, flush=True)
            except (OSError, ValueError):
                # No other place is left to say it.
                return

    def works_again(self, lost: int) -> None:
        """Say how many lines were lost."""
        text = "%s %s: can be written again; log lines lost by this process: %d"
        logging.getLogger("tricorn.error").warning(text, flag(self.option), self.path, lost)


def open_for(option: str, path: str | None, identity: Identity | None = None) -> LogFile | None:
    """The log file of ``option``, a field's name, opened if it is not open yet; None without a path. Raises ConfigError."""
    known = _opened.get(option)
    if known is not None and path is not None and known.path == os.path.abspath(path):
        return known
    try:
        file = LogFile(option, path, identity) if path is not None else None
    except OSError as error:
        cause = "no process reads this FIFO" if error.errno == errno.ENXIO else error.strerror or error
        raise ConfigError(f"{flag(option)} {path}: {cause}") from None
    if known is not None:
        known.close()
        del _opened[option]
    if file is not None:
        _opened[option] = file
    return file


def reopen() -> tuple[dict[str, int], list[str]]:
    """Open all log files again; returns their descriptors by option, and why files can't be opened, a line each.

    Those lines are logged, too. A signal handler may call it at any moment.
    """
    errors: list[str] = []
    for option, file in _opened.items():
        try:
            file.reopen()
        except OSError as error:
            errors.append(f"{flag(option)} {file.path}: {error.strerror}")
            logging.getLogger("tricorn.error").error("%s", errors[-1])
    return {option: file.fd for option, file in _opened.items()}, errors


def adopt(descriptors: Mapping[str, int]) -> None:
    """Use the files of these ``descriptors``, by option, from now on."""
    for option, descriptor in descriptors.items():
        if option in _opened:
            _opened[option].adopt(descriptor)
        else:
            os.close(descriptor)


class FileHandler(logging.Handler):
    """Writes each record of Python's logging to a log file in one piece."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._file.write((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)
