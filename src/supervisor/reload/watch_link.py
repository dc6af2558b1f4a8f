"""The supervisor's side of the watcher."""

from __future__ import annotations

import socket
import time

from ...config.options import Config
from ...ipc.channel import LOADED, Message, Table, encode
from ...ipc.text import one_line
from ..messages import Fact
from ..orders import Reload
from . import watcher as watch

MAX_FILES = 20_000
"""Imported files above which no more are watched."""


class Watching:
    """The auxiliary that notices saved files (see watcher.py)."""

    name = "watcher"
    wanted = True
    lasting = False
    keeps = ()
    says: Table = watch.SAYS

    def __init__(self, config: Config, listeners: tuple[socket.socket, ...], settings: tuple[str, ...] = ()) -> None:
        """``settings`` are the files that the configuration comes from."""
        self._listeners = listeners
        self._imported: set[str] = set()
        self.renew(config, settings, time.time())

    def renew(self, config: Config, settings: tuple[str, ...], now: float) -> None:
        """Let the next process watch by these options. Files saved before ``now`` (wall clock) are in the workers already."""
        self._config, self._settings = config, settings
        # The kernel takes files' times from a clock that ticks only every few milliseconds.
        self._since = now - 0.01
        """Files saved before this are in the workers already."""

    def main(self, link: socket.socket) -> int:
        for listener in self._listeners:
            # An open descriptor would keep the port in use.
            listener.close()
        return watch.main(self._config, link, self._since, self._imported, self._settings)

    def hear(self, message: Message) -> list[Fact]:
        # The process can send any number; a time in the future counts as now.
        since = min(message["at"], time.monotonic())
        return [Reload(changed=tuple(map(one_line, message["files"])), since=since, afresh=message["settings"])]

    def learn(self, message: Message) -> bytes | None:
        new = set(message.get("files", ())) - self._imported
        if not new or len(self._imported) > MAX_FILES:
            return None
        self._imported |= new
        return encode(LOADED, files=sorted(new))

    def died(self, now: float) -> None:
        # The next process also reports what was saved in the last second: a death is not noticed at once.
        self._since = now - 1
