"""Formatters for Tricorn's log. A configuration of Python's logging names them, and uses them as uvicorn's of the same names.

``AccessFormatter`` is for requests, ``DefaultFormatter`` for all other records. Both know ``%(levelprefix)s``, ``%(time)s``
(RFC 3339, UTC) and ``%(process_name)s`` (such as ``worker 0``).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal, TextIO

from .protocols.http1.response import reason

TRACE_LOG_LEVEL = 5

_RESET, _BOLD = "\x1b[0m", "\x1b[1m"
_COLORS = {
    TRACE_LOG_LEVEL: "\x1b[34m",
    10: "\x1b[36m",
    20: "\x1b[32m",
    30: "\x1b[33m",
    40: "\x1b[31m",
    50: "\x1b[91m",
}


def wants_colors(choice: bool | None, stream: TextIO) -> bool:
    """``choice``; if that is None, whether ``stream`` is a terminal and NO_COLOR (no-color.org) is not set."""
    return choice if choice is not None else stream.isatty() and not os.environ.get("NO_COLOR")


def level_prefix(level: int, colors: bool) -> str:
    """The beginning of a line, as uvicorn's: the level's name, a colon, and spaces up to column nine."""
    name = logging.getLevelName(level)
    space = " " * (8 - len(name))
    return f"{_COLORS.get(level, '')}{name}{_RESET}:{space}" if colors else f"{name}:{space}"


def status_text(status: int, colors: bool) -> str:
    """The status with its reason, such as ``404 Not Found``."""
    text = f"{status} {reason(status)}".rstrip()
    if not colors:
        return text
    color = {1: "\x1b[97m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m"}.get(status // 100, "\x1b[91m")
    return f"{color}{text}{_RESET}"


class ColourizedFormatter(logging.Formatter):
    """Adds ``%(levelprefix)s``, in colours if ``use_colors`` is true or, with None, if the stream is a terminal."""

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        super().__init__(fmt, datefmt, style)
        self.use_colors = wants_colors(use_colors, self.stream)

    @property
    def stream(self) -> TextIO:
        """The stream to which the lines probably go."""
        return sys.stdout

    def should_use_colors(self) -> bool:
        """Uvicorn's name for :attr:`use_colors`."""
        return self.use_colors

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format a copy of the record, with the further fields."""
        shown = logging.makeLogRecord(record.__dict__)
        if "%(time)s" in (self._fmt or ""):
            shown.__dict__.update(time=json_time(record.created), process_name=process_name())
        shown.__dict__["levelprefix"] = level_prefix(record.levelno, self.use_colors)
        if self.use_colors and "color_message" in record.__dict__:
            # With this field users of uvicorn give a line colours of its own.
            shown.msg = record.__dict__["color_message"]
            shown.message = shown.getMessage()
        self.complete(shown)
        return super().formatMessage(shown)

    def complete(self, record: logging.LogRecord) -> None:
        """Add further fields to a copy of the record."""


class DefaultFormatter(ColourizedFormatter):
    """For all records that are no requests."""

    def formatException(self, ei: Any) -> str:
        """The traceback; with ``--reload`` only the developer's own frames."""
        error = ei[1]
        return super().formatException(ei) if _traceback is None or error is None else _traceback(error)

    @property
    def stream(self) -> TextIO:
        """Standard error."""
        return sys.stderr


class AccessFormatter(ColourizedFormatter):
    """For records of requests. It also adds ``client_addr``, ``request_line`` and ``status_code``."""

    def complete(self, record: logging.LogRecord) -> None:
        """Add the fields of a request, from the five arguments of the record."""
        args: Any = record.args
        client, line, status = "", record.message, ""
        if isinstance(args, tuple) and len(args) == 5:
            client = str(args[0])
            line = f"{args[1]} {args[2]} HTTP/{args[3]}"
            status = status_text(int(args[4]), self.use_colors)
        if self.use_colors:
            line = f"{_BOLD}{line}{_RESET}"
        record.__dict__.update(client_addr=client, request_line=line, status_code=status)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: the fields of :func:`json_fields`, ``message``, and what ``extra`` adds to the record.

    ``event`` is ``exception`` if there is one, ``lifecycle`` for what Tricorn says of its processes, and otherwise ``log``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        is_ours = record.name.startswith(("tricorn", "uvicorn"))
        event = "exception" if record.exc_info else "lifecycle" if is_ours else "log"
        fields = json_fields(record.created, record.levelname.lower(), event, record.name)
        fields |= {"message": record.getMessage()}
        fields |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return json.dumps(fields, ensure_ascii=False, default=str)


_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}
"""Attributes of every record. ``color_message`` is uvicorn's, for terminals."""

request_ids: ContextVar[dict[str, str]] = ContextVar("request_ids", default={})  # noqa: B039  # never changed
"""With ``--request-id``: ``request_id`` and ``trace_id`` of the request that this context belongs to."""


def json_fields(at: float, level: str, event: str, logger: str) -> dict[str, Any]:
    """What every line of a JSON log begins with; ``at`` is in seconds since the epoch.

    ``time`` (RFC 3339, UTC), ``level``, ``event``, ``logger``, ``worker`` (such as ``worker 0`` or ``supervisor``), ``slot``
    (in workers), ``pid``; in a request with ``--request-id`` also ``request_id`` and ``trace_id``.
    """
    fields: dict[str, Any] = {"time": json_time(at), "level": level, "event": event, "logger": logger}
    fields["worker"] = process_name()
    if (slot := os.environ.get("TRICORN_SLOT")) is not None:
        fields["slot"] = int(slot)
    fields["pid"] = os.getpid()
    return fields | request_ids.get()


_traceback: Callable[[BaseException], str] | None = None


def set_traceback(render: Callable[[BaseException], str]) -> None:
    """Let ``render`` make the text of tracebacks in logs for people."""
    global _traceback
    _traceback = render


_process_name = "tricorn"


def process_name() -> str:
    """The name of this process in the fleet, such as ``supervisor`` or ``worker 0``; ``tricorn`` if there is no fleet."""
    return _process_name


def set_process_name(name: str) -> None:
    """Let ``name`` be what :func:`process_name` returns."""
    global _process_name
    _process_name = name


def json_time(at: float) -> str:
    """``at``, in seconds since the epoch, as in RFC 3339: 2030-01-31T12:00:00.123Z."""
    import time

    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03}Z"
