"""What the functions of ``--hooks`` are given, and which there are. docs/hooks.md says when each is called, and where."""

from __future__ import annotations

from dataclasses import dataclass

ON_WORKER_START, ON_WORKER_READY, ON_WORKER_STOP = "on_worker_start", "on_worker_ready", "on_worker_stop"
"""Called in the worker itself."""
ON_FLEET_READY, ON_FLEET_RELOADED = "on_fleet_ready", "on_fleet_reloaded"
ON_FLEET_STOPPING, ON_FLEET_STOPPED = "on_fleet_stopping", "on_fleet_stopped"
ON_WORKER_EXIT = "on_worker_exit"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process."""

    slot: int
    """0..N-1, kept by its successors."""
    pid: int
    generation: int
    """How many reloads there were before it was born."""
    exit_code: int | None = None
    """In ``on_worker_exit``: what it ended with; the negative number of the signal if one killed it, as in subprocess."""
    cause: str = ""
    """In ``on_worker_exit``: the same for people, ``killed by SIGKILL`` for instance."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The supervisor and all its workers."""

    pid: int
    """The supervisor's."""
    size: int
    """How many workers are wanted."""
    generation: int
    """How many reloads there were."""
    addresses: tuple[str, ...]
    """Where it listens: ``http://127.0.0.1:8000``, ``unix:/run/shop.sock``."""


IN_WORKER: dict[str, type[Worker | Fleet]] = dict.fromkeys((ON_WORKER_START, ON_WORKER_READY, ON_WORKER_STOP), Worker)
IN_RUNNER: dict[str, type[Worker | Fleet]] = {
    **dict.fromkeys((ON_FLEET_READY, ON_FLEET_RELOADED, ON_FLEET_STOPPING, ON_FLEET_STOPPED), Fleet),
    ON_WORKER_EXIT: Worker,
}
"""Called in the hook runner: what concerns all, or a worker that can't speak for itself any more."""
HOOKS = {**IN_WORKER, **IN_RUNNER}
"""Every hook, with what it is given."""
