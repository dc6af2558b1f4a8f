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
from ..logging import AccessFormatter, JsonFormatter, json_time, level_prefix, process_name, status_text
from ..protocols.context import Ended


class Access(Protocol):
    """Told of every response, and of every request that was refused before it had an exchange."""

    @property
    def timed(self) -> bool:
        """Whether it wants to know how long each exchange took."""

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None: ...
    def line(self, text: str) -> None:
        """A line of what is no HTTP response, such as the opening and the end of a WebSocket."""

    def flush(self) -> None:
        """Write what waits."""


class Writer:
    """Lines written to a descriptor in one batch per turn of the event loop."""

    timed = False

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        """``line`` ends with a newline."""
        if not self._lines:
            self._loop.call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Write what waits."""
        data = "".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines.clear()
        if data:
            self._descriptor.write(data)


class AccessLog(Writer):
    """A line for every response, in uvicorn's format. Formatting through ``logging`` would cost as much as answering."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor, colors: bool) -> None:
        super().__init__(loop, descriptor)
        self._prefix = level_prefix(20, colors) + " "
        self._colors = colors
        self._statuses: dict[int, str] = {}

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        if not self._lines:
            self._loop.call_soon(self.flush)
        text = self._statuses.get(status) or self._statuses.setdefault(status, status_text(status, self._colors))
        self._lines.append(f'{self._prefix}{client} - "{method} {path} HTTP/{version}" {text}\n')

    def line(self, text: str) -> None:
        self.write(f"{self._prefix}{text}\n")


class TimedAccessLog(AccessLog):
    """The same for a file: each line begins with the time, that of the first line of its turn of the loop, and the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: Descriptor, colors: bool) -> None:
        super().__init__(loop, descriptor, colors)
        self._kind = f" {self._prefix}{process_name()} [{os.getpid()}]: "

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        self._stamp()
        super().__call__(client, method, path, version, status, ended)

    def line(self, text: str) -> None:
        self._stamp()
        super().line(text)

    def _stamp(self) -> None:
        if not self._lines:
            self._prefix = json_time(time.time()) + self._kind


class JsonAccess(Writer):
    """A JSON object for every response."""

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        self.object(client=client, method=method, path=path, version=version, status=status)

    def line(self, text: str) -> None:
        self.object(message=text)

    def object(self, **fields: Any) -> None:
        told = {"time": json_time(time.time()), "level": "info", "logger": "tricorn.access", **fields}
        self.write(json.dumps(told, ensure_ascii=False) + "\n")


class LoggedAccess:
    """Through Python's logging, as records like uvicorn's: their arguments are the first five of a call, in this order."""

    timed = False

    def __init__(self, config: Config, logger: logging.Logger) -> None:
        self._logger = logger
        if not logger.handlers and config.log_config is None:
            # Somebody has added a filter, and is content with the handler that there usually is.
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
        logging.getLogger("tricorn.error").info("%s", text)

    def flush(self) -> None:
        """Nothing waits."""
