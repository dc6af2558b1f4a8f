"""Configures the error log (events of processes, failures; by default standard error) and the access log (standard output)."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TextIO

from ..config.identity import Identity
from ..config.options import Config, check_excluded, is_set
from ..ipc.descriptor import Descriptor, StderrHandler
from ..logging import TRACE_LOG_LEVEL as TRACE
from ..logging import DefaultFormatter, JsonFormatter, wants_colors
from . import config_file as log_config
from . import files as log_files
from .access import Access, AccessLog, JsonAccess, LoggedAccess, TerminalAccessLog, TimedAccessLog

LEVELS = {"trace": TRACE, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
FULL_LINE = "%(time)s %(levelprefix)s %(process_name)s [%(process)d]: %(message)s"
"""A record where time and process are wanted (see :func:`wants_time`)."""
_chosen = ""
"""The level that an operator has chosen while the server runs, if so."""


def configure(config: Config, identity: Identity | None = None) -> None:
    """Configure Tricorn's loggers as the options say, and uvicorn's too, because applications write to those.

    Opens the log files with the rights of ``identity``, which the workers run as. Raises ConfigError.
    """
    logging.addLevelName(TRACE, "TRACE")
    _check(config)
    error_file = log_files.open_for("error_log_file", config.error_log_file, identity)
    log_files.open_for("access_log_file", config.access_log_file, identity)
    log_config.release()
    if config.log_config is not None:
        # Its handlers may open any file, and workers open it again. So it is opened with the workers' rights.
        with identity.acting() if identity is not None else nullcontext():
            log_config.apply_file(config.log_config)
        if is_set(config, "log_level"):
            set_level(config.log_level)
    else:
        _configure_plainly(config, error_file)
    if _chosen:
        choose_level(_chosen)


def _configure_plainly(config: Config, error_file: log_files.LogFile | None) -> None:
    handler = StderrHandler() if error_file is None else log_files.FileHandler(error_file)
    if config.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        in_file = error_file is not None
        colors = bool(config.use_colors) if in_file else wants_colors(config.use_colors, sys.stderr)
        line = FULL_LINE if in_file or wants_time(config.log_time, sys.stderr) else "%(levelprefix)s %(message)s"
        handler.setFormatter(DefaultFormatter(line, use_colors=colors))
    for name in (log_config.OURS, log_config.THEIRS):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(LEVELS[config.log_level])
        logger.propagate = False
    _adopt_root(handler if config.log_format == "json" else None, LEVELS[config.log_level])


def wants_time(choice: bool | None, stream: TextIO) -> bool:
    """``choice``; if that is None, whether lines need time and process: not on a terminal, and the journal adds them."""
    if choice is not None:
        return choice
    try:
        status = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    # The journal tells device and inode of the socket that leads to it (systemd.exec(5)).
    return not stream.isatty() and os.environ.get("JOURNAL_STREAM") != f"{status.st_dev}:{status.st_ino}"


_root_handler: logging.Handler | None = None
"""The one that we have given to the root logger."""


def _adopt_root(handler: logging.Handler | None, level: int) -> None:
    """Let the application's own loggers write by ``handler``, unless it has configured them; None takes ours away again."""
    global _root_handler
    root = logging.getLogger()
    if _root_handler is not None and _root_handler in root.handlers:
        root.removeHandler(_root_handler)
    elif root.handlers:
        return
    _root_handler = handler
    if handler is not None:
        root.addHandler(handler)
        # Not below INFO: then every library would log what concerns only its authors.
        root.setLevel(max(level, logging.INFO))


def _check(config: Config) -> None:
    if config.log_config is not None:
        check_excluded(config, "log_config", "--log-config says where the log goes, and how")
    if config.access_log_format is not None:
        from .formats import check

        check(config.access_log_format)


def choose_level(level: str) -> None:
    """Let the error log have ``level`` from now on, whatever :func:`configure` says later. The access log stays as it is."""
    global _chosen
    _chosen = level
    for package in (log_config.OURS, log_config.THEIRS):
        for name in ("", ".error"):
            logging.getLogger(package + name).setLevel(LEVELS[level])


def chosen_level() -> str:
    """What :func:`choose_level` was called with last; empty if it was not."""
    return _chosen


def set_level(level: str | int) -> None:
    """Log only from ``level`` on, whatever handlers there are; as uvicorn's ``log_level``."""
    for name in log_config.NAMES[1:]:
        for package in (log_config.OURS, log_config.THEIRS):
            logging.getLogger(package + name).setLevel(LEVELS[level] if isinstance(level, str) else level)


def reopen() -> tuple[dict[str, int], list[str]]:
    """Open all log files again, also those of Python's logging. Returns the descriptors of our own, by option."""
    close_handlers()
    return log_files.reopen()


def adopt(descriptors: Mapping[str, int]) -> None:
    """As :func:`reopen`, with ``descriptors`` of our own files, which the supervisor has opened."""
    close_handlers()
    log_files.adopt(descriptors)


def close_handlers() -> None:
    """Close the files of Python's logging. The next record opens them again."""
    known = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in known:
        for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
            if isinstance(handler, logging.FileHandler):
                handler.close()


def make_access(config: Config, loop: asyncio.AbstractEventLoop) -> Access:
    """The access log that the options ask for, or the one that the application has configured in Python's logging."""
    file = log_files.open_for("access_log_file", config.access_log_file)
    logger = next((one for one in map(logging.getLogger, ("tricorn.access", "uvicorn.access")) if _is_touched(one)), None)
    descriptor = file if file is not None else _descriptor_of_stdout()
    if config.access_log_format is not None and descriptor is not None:
        from .formats import make

        return make(config.access_log_format, loop, descriptor)
    if logger is not None or config.log_config is not None or descriptor is None:
        return LoggedAccess(config, logger or logging.getLogger("tricorn.access"))
    if config.log_format == "json":
        return JsonAccess(loop, descriptor)
    colors = wants_colors(config.use_colors, sys.stdout) if file is None else bool(config.use_colors)
    if file is not None or wants_time(config.log_time, sys.stdout):
        return TimedAccessLog(loop, descriptor, colors)
    return (TerminalAccessLog if sys.stdout.isatty() else AccessLog)(loop, descriptor, colors)


def _is_touched(logger: logging.Logger) -> bool:
    """Whether the application wants the logger's records, for example to filter health checks."""
    return bool(logger.handlers or logger.filters)


def _descriptor_of_stdout() -> Descriptor | None:
    """None where standard output has no descriptor, as in a notebook."""
    try:
        return Descriptor(sys.stdout.fileno())
    except (AttributeError, io.UnsupportedOperation):
        return None
