"""The access log: a line for every response."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from typing import Any, Protocol

from ..config.options import Config
from ..ipc.descriptor import Descriptor
from ..logging import AccessFormatter, JsonFormatter, json_fields, json_time, level_prefix, process_name, status_text
from ..protocols.context import Ended


class Access(Protocol):
    """Gets every response, and every request that was refused before its exchange began."""

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        """Log a response. ``path`` has the query; ``ended`` is None if the request was refused before its exchange began."""

    def line(self, text: str) -> None:
        """Log an event that is no HTTP response, such as the opening or the end of a WebSocket."""

    def flush(self) -> None:
        """Write the lines that wait."""


class LineWriter:
    """Collects lines and writes them to a descriptor once per turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._lines: list[str] = []

    def begin(self) -> None:
        """The first line of a turn comes: write all at its end."""
        self._loop.call_soon(self.flush)

    def write(self, line: str) -> None:
        """Write ``line``, which ends with a newline, at the end of this turn."""
        if not self._lines:
            self.begin()
        self._lines.append(line)

    def flush(self) -> None:
        """Write the lines that wait."""
        data = "".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines.clear()
        if data:
            self._descriptor.write(data)


class AccessLog(LineWriter):
    """A line for every response, in uvicorn's format. Formatting by ``logging`` would cost as much as answering a request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor, colors: bool) -> None:
        super().__init__(loop, descriptor)
        self._prefix = level_prefix(20, colors) + " "
        self._colors = colors
        self._statuses: dict[int, str] = {}

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        # As write() does: its call, for each response, is spared.
        if not self._lines:
            self.begin()
        text = self._statuses.get(status) or self._statuses.setdefault(status, status_text(status, self._colors))
        self._lines.append(f'{self._prefix}{client} - "{method} {path} HTTP/{version}" {text}\n')

    def line(self, text: str) -> None:
        """See :class:`Access`."""
        if not self._lines:
            self.begin()
        self._lines.append(f"{self._prefix}{text}\n")


class TimedAccessLog(AccessLog):
    """The same for a file or a pipe: each line begins with the time and the process.

    The time is that of the first line in its turn of the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor, colors: bool) -> None:
        super().__init__(loop, descriptor, colors)
        self._kind = f" {self._prefix}{process_name()} [{os.getpid()}]: "

    def begin(self) -> None:
        """Tell the time, too."""
        super().begin()
        self._prefix = json_time(time.time()) + self._kind


class TerminalAccessLog(AccessLog):
    """The same for a terminal: each line ends with the time that the request took."""

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        super().__call__(client, method, path, version, status, ended)
        if ended is not None:
            self._lines[-1] = f"{self._lines[-1][:-1]} {duration(ended.seconds)}\n"


def host_of(client: str) -> str:
    """The host of ``HOST:PORT``; ``-`` for a client without an address, as on a UNIX socket."""
    return client.rpartition(":")[0] or "-"


def duration(seconds: float) -> str:
    """A duration for people: ``0.4 ms``, ``38 ms``, ``2.1 s``."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


class JsonAccess(LineWriter):
    """A JSON object for every response, with the fields that all lines of a JSON log have (see ``tricorn.logging``)."""

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        place, _, query = path.partition("?")
        fields: dict[str, Any] = {"client": host_of(client), "method": method, "path": place, "query": query}
        fields |= {"version": version, "status": status}
        # A request that was refused before the application saw it has neither.
        fields |= {"bytes": ended.sent if ended else 0, "seconds": round(ended.seconds, 6) if ended else 0.0}
        if ended is not None:
            fields |= ids_of(ended) | self.further(ended)
        self.object("request", **fields)

    def further(self, ended: Ended) -> dict[str, Any]:
        """Further fields of a request."""
        return {}

    def line(self, text: str) -> None:
        """See :class:`Access`."""
        self.object("websocket", message=text)

    def object(self, event: str, **fields: Any) -> None:
        """Write one object: the fields that all have, then ``fields``."""
        full = json_fields(time.time(), "info", event, "tricorn.access") | fields
        self.write(json.dumps(full, ensure_ascii=False) + "\n")


def ids_of(ended: Ended) -> dict[str, str]:
    """``request_id`` and ``trace_id`` of a request, if ``--request-id`` gave it some."""
    return {name: ended.scope[name] for name in ("request_id", "trace_id") if name in ended.scope}


class LoggedAccess:
    """Logs responses by Python's logging, as uvicorn does: a record's arguments are the first five of a call, in this order."""

    def __init__(self, config: Config, logger: logging.Logger) -> None:
        self._logger = logger
        if not logger.handlers and config.log_config is None:
            # The application has added only a filter, so the usual handler is wanted.
            handler = logging.StreamHandler(sys.stdout)
            line = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
            handler.setFormatter(
                JsonFormatter() if config.log_format == "json" else AccessFormatter(line, use_colors=config.use_colors)
            )
            logger.addHandler(handler)
            logger.propagate = False
            if not logger.level:
                logger.setLevel(logging.INFO)

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        self._logger.info('%s - "%s %s HTTP/%s" %d', client, method, path, version, status)

    def line(self, text: str) -> None:
        """See :class:`Access`."""
        logging.getLogger("tricorn.error").info("%s", text)

    def flush(self) -> None:
        """Do nothing: no line waits."""
