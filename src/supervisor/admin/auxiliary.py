"""The supervisor's side of the admin process (see ``admin/main.py``): it forks the process and shows it the fleet."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ...admin import main as admin
from ...config.frozen import replace
from ...config.options import Config
from ...ipc.channel import Message, Table, encode
from ...ipc.scoreboard import Field
from ...ipc.text import one_line
from ..host import Host
from ..messages import Fact
from ..own_descriptors import Closable
from ..phases import Stage
from ..snapshot import Snapshot
from .view import MAX_EVENT, NOT_FOUND, Exhibit, Shown, View

TURN = 1.0
"""Seconds after which the supervisor shows again that it turns: so /livez is exact to a second."""
EVENTS = 50
"""Lines of the log that are shown."""


class AdminProcess:
    """The auxiliary that answers on ``--admin-bind``, and sends for ``--statsd`` and ``--otlp-endpoint``.

    It is wanted from the start to the end.
    """

    name = "admin"
    lasting = True
    end = encode(admin.END)
    """What tells the process to end."""
    give_place = encode(admin.END, replaced=True)
    """What tells it that another process answers from now on."""
    says: Table = {}

    def __init__(
        self,
        config: Config,
        own: tuple[socket.socket, ...],
        listeners: tuple[socket.socket, ...],
        exhibit: Exhibit,
        app_metrics: str | None,
        began: float,
        is_first: bool = True,
    ) -> None:
        """It answers on the listeners ``own``; ``listeners`` are those of the workers.

        ``app_metrics``: the directory of the application's metrics. ``began``: when the supervisor did, in seconds of the wall
        clock. ``is_first``: whether no such process was there before.
        """
        self.wanted = True
        self._config = config
        self._listeners = listeners
        self._exhibit = exhibit
        self._given = admin.Given(own, app_metrics, os.getpid(), began, is_first)

    @property
    def has_last_words(self) -> bool:
        """Whether the process has something to do when no worker is left: to send what the workers counted last."""
        return self._config.statsd is not None or self._config.otlp_endpoint is not None

    @property
    def keeps(self) -> Collection[Closable]:
        """Its listeners, and what it is shown."""
        return (*self._given.listeners, self._exhibit.published)

    def main(self, link: socket.socket) -> int:
        """The process: answer until the supervisor ends it."""
        for listener in self._listeners:
            # A process that holds it keeps the port.
            listener.close()
        return admin.main(self._config, link, View(self._exhibit, self._config), self._given)

    def hear(self, message: Message) -> list[Fact]:
        """The process says nothing."""
        return []

    def learn(self, message: Message) -> bytes | None:
        """Nothing: the process reads what happens to workers from shared memory."""
        return None

    def died(self, now: float) -> None:
        """The next process is told that it is not the first."""
        self._given = replace(self._given, is_first=False)


class AdminObserver:
    """Shows the fleet to the admin process by ``exhibit``."""

    def __init__(self, process: AdminProcess, exhibit: Exhibit, host: Host, lines: Iterable[dict[str, Any]] = ()) -> None:
        """``lines``: those of the log that were shown before."""
        self.due: float | None = None
        """When to show again that the supervisor turns."""
        self._process = process
        self._exhibit = exhibit
        self._host = host
        self._shown: tuple[Snapshot, Mapping[int, Shown]] | None = None
        self._worker_beat = 0.0
        self._recent = RecentLines()
        self._recent.lines.extend(lines)
        logging.getLogger("tricorn.error").addFilter(self._recent)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The last lines of the log."""
        return [*self._recent.lines]

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Show what has changed."""
        found = {worker.id: self._find(worker.id, now) for worker in snapshot.workers}
        if (snapshot, found) != self._shown or self._recent.is_new:
            self._shown = snapshot, found
            self._recent.is_new = False
            templates = {one.template: one.pid for one in self._host.sources.templates or ()}
            self._exhibit.show(snapshot, found, self._recent.lines, templates)
        self._exhibit.published.show_beat(now, self._worker_beat)
        self.due = now + TURN if snapshot.stage is not Stage.FINISHED else None
        if snapshot.stage is Stage.FINISHED and self._process.has_last_words and self._process.wanted:
            self._host.auxiliaries.bow_out(self._process, self._process.end, now)

    def _find(self, worker: int, now: float) -> Shown:
        """What is shown of a worker's process; notes its beat."""
        child = self._host.children.get(worker)
        if child is None:
            return NOT_FOUND
        beat = self._host.scoreboard.row(child.row)[Field.BEAT]
        if self._worker_beat < beat <= now:
            self._worker_beat = beat
        blocked = self._host.children.stalls.blocked(worker, now)
        return (
            child.pid,
            child.row,
            None if blocked is None else (round(now - blocked.seconds, 2), blocked.request, blocked.line),
        )


class RecentLines(logging.Filter):
    """Remembers the last lines of the log. It is a filter and no handler, because a reload makes new handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self.is_new = False
        """Whether a line has come since the last look."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remember a line, and let it pass."""
        if record.levelno >= logging.INFO:
            text = one_line(record.getMessage().partition("\n")[0], MAX_EVENT)
            self.lines.append({"time": round(record.created, 3), "level": record.levelname.lower(), "text": text})
            self.is_new = True
        return True
