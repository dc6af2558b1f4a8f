"""What the supervisor shows to the admin process, and how that reads it.

The supervisor writes a text when something has changed: the fleet's snapshot, with pids and rows of the scoreboard. What
changes all the time (requests, lag, memory) the admin process reads for itself, from the scoreboard and from /proc.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ...config.frozen import replace
from ...config.options import Config
from ...ipc.address import Address
from ...ipc.counts import WIDTH, Counts
from ...ipc.published import Published, read_all
from ...ipc.scoreboard import Field, Row, Scoreboard
from ...metrics.gather import Facts
from ..control.metrics import make_facts
from ..control.status import Supervised, status, too_few
from ..inspector import Receiver
from ..phases import Phase, Plan, Stage
from ..snapshot import LastReload, Result, Snapshot, TemplateSnapshot, WorkerSnapshot
from ..stalls import Blocked
from ..templates import TemplatePhase

Shown = tuple[int, int, tuple[float, str, str] | None]
"""What is shown of a worker: pid, row of the scoreboard; if its event loop does not turn, since when, for which request, and
where."""
NOT_FOUND: Shown = 0, 0, None
MAX_EVENT = 300
"""Characters of a log line that are shown."""


class Exhibit:
    """Writes, in the supervisor. Its clients are ``supervised``."""

    def __init__(self, published: Published, scoreboard: Scoreboard, supervised: Supervised) -> None:
        self.published = published
        self.scoreboard = scoreboard
        self.supervised = supervised
        scoreboard.counts.show_to(published)

    def show(
        self,
        snapshot: Snapshot,
        found: Mapping[int, Shown],
        events: Iterable[Mapping[str, Any]],
        templates: Mapping[int, int],
    ) -> None:
        """Show the fleet: ``found`` has the processes by the worker's id, ``events`` the last lines of the log.

        ``templates`` are the pids of templates, by id.
        """
        reload = snapshot.last_reload
        text = {
            "stage": snapshot.stage.name,
            "wanted": snapshot.wanted,
            "plan": snapshot.plan.generation,
            "settled": snapshot.settled.generation,
            "is_complete": snapshot.is_complete,
            "ready_min": snapshot.settled.config.ready_min,
            "health_time": snapshot.settled.config.timeout_worker_healthcheck,
            "last_reload": reload and [reload.generation, reload.began, reload.ended, reload.result.name, reload.error],
            "exits": dict(snapshot.exits),
            "reloads": dict(snapshot.reloads),
            "members": [
                [w.slot, w.id, w.phase.name, w.generation, w.since, w.restarts, w.last_death, *found.get(w.id, NOT_FOUND)]
                for w in snapshot.workers
            ],
            "templates": [
                [t.id, t.phase.name, t.generation, t.since, t.has_app, templates.get(t.id)] for t in snapshot.templates
            ],
            "events": list(events),
        }
        self.published.show_text(json.dumps(text).encode())


class View:
    """Reads, in the admin process. See :class:`tricorn.admin.source.Source`."""

    def __init__(self, exhibit: Exhibit, config: Config) -> None:
        self._published = exhibit.published
        self._published.protect()
        self._scoreboard = exhibit.scoreboard
        self._config = config
        self._supervised = exhibit.supervised
        self._text = b""
        self._told: dict[str, Any] = {}
        self._counts = Counts()
        """What was shown last: no counter runs backwards."""
        self._cpu = 0.0

    def status(self, now: float) -> dict[str, Any]:
        """What ``tricornctl status --json`` says."""
        snapshot, processes = self._read()
        return status(snapshot, replace(self._supervised, processes=processes), now)

    def facts(self, queues: Mapping[str, int], memory: float | None, cpu: float | None, now: float) -> Facts:
        """What the metrics are made of."""
        snapshot, processes = self._read()
        counts = read_all(self._published, self._scoreboard.counts.cells, WIDTH)
        if counts is not None:
            counts.never_below(self._counts)
            self._counts = counts
        if cpu is not None:
            # A process that was reaped just now may be missing from both sums.
            cpu = self._cpu = max(self._cpu, cpu)
        return make_facts(snapshot, processes.rows(), self._counts, queues, memory, cpu, now)

    def trouble(self, now: float) -> str:
        """Why the server is not alive; empty if it is."""
        told, limit = self._refresh(), self._refresh().get("health_time", self._config.timeout_worker_healthcheck)
        silent = now - self._published.beat
        if silent > limit:
            return f"the supervisor has not turned for {silent:.1f} s"
        if told.get("stage", "BOOTING") == "BOOTING":
            # --timeout-worker-startup bounds how long that may take.
            return ""
        _, processes = self._read()
        beats = [beat for row in processes.rows() if 0 < (beat := row[Field.BEAT]) <= now]
        silent = now - max([*beats, self._published.worker_beat])
        return f"no worker's event loop has turned for {silent:.1f} s" if silent > limit else ""

    def unready(self, now: float) -> str:
        """Why the server is not ready for clients; empty if it is."""
        told = self._refresh()
        if not told:
            return "the supervisor has not started yet"
        snapshot, processes = self._read()
        if snapshot.stage not in (Stage.BOOTING, Stage.SERVING):
            return "a stop was ordered"
        ready = 0
        for worker in snapshot.workers:
            row = processes.row_of(worker.id)
            if worker.phase is Phase.READY and row is not None and now - row[Field.BEAT] <= told["health_time"]:
                ready += 1
        return too_few(ready, told["ready_min"]) if ready < told["ready_min"] else ""

    def pids(self) -> list[int]:
        """The supervisor, all workers, and what they were forked from."""
        told = self._refresh()
        workers = [worker[7] for worker in told.get("members", ()) if worker[7]]
        return [self._supervised.pid, *workers, *(template[5] for template in told.get("templates", ()) if template[5])]

    def listeners(self) -> tuple[Address, ...]:
        """Where the workers' listeners listen."""
        return self._supervised.addresses

    def events(self) -> list[dict[str, Any]]:
        """The last lines of the log."""
        events: list[dict[str, Any]] = self._refresh().get("events", [])
        return events

    def _refresh(self) -> dict[str, Any]:
        """What the supervisor tells now; empty before it has told anything."""
        text = self._published.text()
        if text != self._text:
            self._text, self._told = text, json.loads(text)
        return self._told

    def _read(self) -> tuple[Snapshot, Seen]:
        told, config = self._refresh(), self._config
        workers = told.get("members", [])
        templates = told.get("templates", [])
        reload = told.get("last_reload")
        snapshot = Snapshot(
            Stage[told.get("stage", "BOOTING")],
            tuple(WorkerSnapshot(w[0], w[1], Phase[w[2]], w[3], w[4], w[5], w[6]) for w in workers),
            told.get("wanted", config.workers),
            Plan(told.get("plan", 0), config),
            Plan(told.get("settled", 0), config),
            None if reload is None else LastReload(reload[0], reload[1], reload[2], Result[reload[3]], reload[4]),
            told.get("is_complete", False),
            tuple(told.get("exits", {}).items()),
            tuple(told.get("reloads", {}).items()),
            templates=tuple(TemplateSnapshot(t[0], TemplatePhase[t[1]], t[2], t[3], t[4]) for t in templates),
        )
        found: dict[int, Shown] = {w[1]: (w[7], w[8], w[9]) for w in workers if w[7]}
        return snapshot, Seen(self._scoreboard, found, {t[0]: t[5] for t in templates if t[5]})


class Seen:
    """The workers' processes, as the supervisor shows them; see :class:`Processes`."""

    def __init__(self, scoreboard: Scoreboard, found: Mapping[int, Shown], templates: Mapping[int, int]) -> None:
        self._scoreboard = scoreboard
        self._found = found
        self._templates = templates

    def pid_of(self, worker: int) -> int | None:
        """The pid; None if the worker is gone."""
        found = self._found.get(worker)
        return found[0] if found is not None else None

    def template_pid(self, template: int) -> int | None:
        """The pid of a template; None if it is gone."""
        return self._templates.get(template)

    def row_of(self, worker: int) -> Row | None:
        """Its row of the scoreboard; None if the worker is gone."""
        found = self._found.get(worker)
        return self._scoreboard.row(found[1]) if found is not None else None

    def rows(self) -> list[Row]:
        """The rows of all."""
        return [self._scoreboard.row(row) for _, row, _ in self._found.values()]

    def durations_of(self, worker: int) -> list[float] | None:
        """How many of its responses took how long; None if it is gone."""
        found = self._found.get(worker)
        return self._scoreboard.counts.read([found[1]]).durations() if found is not None else None

    def blocked(self, worker: int, now: float) -> Blocked | None:
        """What keeps its event loop from turning, as far as the supervisor has told."""
        _, row, stall = self._found.get(worker, NOT_FOUND)
        # The moment was rounded to a hundredth.
        if stall is None or not stall[0] <= now or self._scoreboard.row(row)[Field.BEAT] > stall[0] + 0.01:
            return None
        return Blocked(now - stall[0], stall[1], stall[2])

    def counts(self) -> Counts:
        """Empty: :class:`View` reads them itself."""
        return Counts()

    def inspect(self, workers: Collection[int], stacks: bool, answer: Receiver) -> bool:
        """Only the supervisor can ask workers."""
        return False
