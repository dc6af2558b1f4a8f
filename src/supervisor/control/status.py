"""What ``status`` says: the fleet's snapshot, with what the host and the workers' rows of the scoreboard add."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from ...config.frozen import Value
from ...ipc.address import Address
from ...ipc.counts import Counts
from ...ipc.scoreboard import ACTIVE_PERIOD, BEAT_PERIOD, MAX_CONNECTIONS, MAX_COUNT, Field, Row
from ...version import __version__
from ..inspector import Receiver
from ..phases import Phase, Stage
from ..resources import usage_of
from ..snapshot import LastReload, Snapshot, TemplateSnapshot, WorkerSnapshot
from ..stalls import Blocked
from ..templates import TemplatePhase

PHASES: Mapping[Phase, str] = {
    Phase.ASKED: "starting",
    Phase.STARTING: "starting",
    Phase.READY: "ready",
    Phase.HUNG: "hung",
    Phase.DRAINING: "draining",
    Phase.CALLED_OFF: "draining",
    # It has said why it can't start, and exits.
    Phase.FAILED: "draining",
    Phase.KILLED: "killed",
}
TEMPLATE_PHASES: Mapping[TemplatePhase, str] = {
    TemplatePhase.STARTING: "starting",
    TemplatePhase.READY: "ready",
    TemplatePhase.KILLED: "killed",
}
STAGES: Mapping[Stage, str] = {
    Stage.BOOTING: "booting",
    Stage.SERVING: "serving",
    Stage.LEAVING: "leaving",
    Stage.STOPPING: "stopping",
    Stage.QUITTING: "quitting",
    # No worker is left; auxiliaries finish.
    Stage.FINISHED: "stopping",
}


class Processes(Protocol):
    """The workers' processes; see workers.py."""

    def pid_of(self, worker: int) -> int | None:
        """The pid; None if the worker is gone."""

    def template_pid(self, template: int) -> int | None:
        """The pid of a template; None if it is gone."""

    def row_of(self, worker: int) -> Row | None:
        """Its row of the scoreboard; None if the worker is gone."""

    def durations_of(self, worker: int) -> list[float] | None:
        """How many of its responses took how long; None if the worker is gone."""

    def blocked(self, worker: int, now: float) -> Blocked | None:
        """What keeps its event loop from turning; None if it turns."""

    def counts(self) -> Counts:
        """The sum of what all workers have counted, also those that are gone."""

    def inspect(self, workers: Collection[int], stacks: bool, answer: Receiver) -> bool:
        """Find out what ``workers`` are doing; returns whether they are asked."""


class Supervised(Value):
    """What questions are answered from, beside the snapshot."""

    app: str
    listeners: tuple[str, ...]
    """Where clients reach the fleet, as URLs."""
    addresses: tuple[Address, ...]
    """Where the listeners listen."""
    since: float
    """When the supervisor started, in seconds of CLOCK_MONOTONIC."""
    processes: Processes
    pid: int
    """The supervisor's."""


def status(snapshot: Snapshot, supervised: Supervised, now: float) -> dict[str, Any]:
    """Everything, fit for JSON. Reads /proc for each worker, so it costs about 50 µs for each."""
    workers = sorted(snapshot.workers, key=lambda worker: (worker.slot, worker.id))
    return {
        "supervisor": {
            "pid": supervised.pid,
            "version": __version__,
            "app": supervised.app,
            "uptime": round(now - supervised.since, 3),
            "generation": snapshot.settled.generation,
            "wanted": snapshot.wanted,
            "ready": snapshot.ready,
            "stage": STAGES[snapshot.stage],
            "listeners": list(supervised.listeners),
            "last_reload": last_reload(snapshot.last_reload, now),
        },
        "workers": [worker_status(worker, supervised.processes, now) for worker in workers],
        "templates": [template_status(template, supervised.processes, now) for template in snapshot.templates],
    }


def too_few(ready: int, wanted: int) -> str:
    """Why a fleet with so many ``ready`` workers is not ready itself, if fewer than ``wanted`` are."""
    return f"{ready} {'worker is' if ready == 1 else 'workers are'} ready, fewer than --ready-min {wanted}"


def last_reload(reload: LastReload | None, now: float) -> dict[str, Any] | None:
    """The last reload; None before the first."""
    if reload is None:
        return None
    ended = now if reload.ended is None else reload.ended
    return {
        "generation": reload.generation,
        "result": reload.result.value,
        "seconds": round(ended - reload.began, 3),
        "error": reload.error or None,
    }


def worker_status(worker: WorkerSnapshot, processes: Processes, now: float) -> dict[str, Any]:
    """One worker. Values of a process that is gone, or was never forked, are None."""
    pid, row = processes.pid_of(worker.id), processes.row_of(worker.id)
    usage = usage_of(pid) if pid is not None else None
    durations, blocked = processes.durations_of(worker.id), processes.blocked(worker.id, now)
    return {
        "slot": worker.slot,
        "id": worker.id,
        "pid": pid,
        "generation": worker.generation,
        "phase": PHASES[worker.phase],
        "age": round(now - worker.since, 3),
        # Exact at any moment; the row is written once a second.
        "requests": int(min(sum(durations), MAX_COUNT)) if durations is not None else None,
        "in_flight": _in_flight(row, blocked),
        "connections": _whole(row, Field.CONNECTIONS, MAX_CONNECTIONS),
        "lag": round(lag(row, now), 3) if row is not None else None,
        "cpu_seconds": usage.cpu_seconds if usage is not None else None,
        "rss_bytes": usage.rss_bytes if usage is not None else None,
        "restarts": worker.restarts,
        "last_death": worker.last_death or None,
        "durations": durations,
        "blocked": blocked_status(blocked),
    }


def template_status(template: TemplateSnapshot, processes: Processes, now: float) -> dict[str, Any]:
    """One template of ``--preload``."""
    pid = processes.template_pid(template.id)
    usage = usage_of(pid) if pid is not None else None
    return {
        "id": template.id,
        "pid": pid,
        "generation": template.generation,
        "phase": TEMPLATE_PHASES[template.phase],
        "age": round(now - template.since, 3),
        "shares": "app" if template.has_app else "packages",
        "rss_bytes": usage.rss_bytes if usage is not None else None,
    }


def blocked_status(blocked: Blocked | None) -> dict[str, Any] | None:
    """What keeps an event loop from turning; None if it turns."""
    if blocked is None:
        return None
    return {"seconds": round(blocked.seconds, 3), "request": blocked.request or None, "line": blocked.line or None}


def lag(row: Row, now: float) -> float:
    """Seconds for which the event loop was kept from turning at its last beat, or for which its next one is late by now.

    So it grows while the loop is blocked. 0 before the first beat. Any worker may have written the row.
    """
    told = row[Field.LAG]
    # No loop was kept from turning for longer than the machine runs.
    return max(lateness(row, now), told if 0 < row[Field.BEAT] <= now and 0 <= told <= now else 0.0)


def lateness(row: Row, now: float) -> float:
    """Seconds by which the next beat is late: so long, at least, the event loop has not turned. 0 before the first beat."""
    beat, period = row[Field.BEAT], ACTIVE_PERIOD if row[Field.ACTIVE] == 1 else BEAT_PERIOD
    return max(0.0, now - beat - period) if 0 < beat <= now else 0.0


def _in_flight(row: Row | None, blocked: Blocked | None) -> int | None:
    """Requests in flight at the last beat of each second; one that has blocked the event loop since then counts, too."""
    told = _whole(row, Field.IN_FLIGHT, MAX_CONNECTIONS)
    return max(1, told) if told is not None and blocked is not None and blocked.request else told


def _whole(row: Row | None, field: Field, most: float) -> int | None:
    if row is None:
        return None
    value = row[field]
    return int(value) if 0 <= value <= most else 0
