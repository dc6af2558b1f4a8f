"""The hooks of ``--hooks`` and their arguments. docs/hooks.md says when each hook is called, and in which process."""

from __future__ import annotations

from dataclasses import dataclass

ON_WORKER_START, ON_WORKER_READY, ON_WORKER_STOP = "on_worker_start", "on_worker_ready", "on_worker_stop"
"""Called in the worker itself."""
ON_TEMPLATE_LOADED, ON_WORKER_FORKED = "on_template_loaded", "on_worker_forked"
"""With ``--preload``: called in the template, and in a worker that it has just forked."""
ON_FLEET_READY, ON_FLEET_RELOADED = "on_fleet_ready", "on_fleet_reloaded"
ON_FLEET_STOPPING, ON_FLEET_STOPPED = "on_fleet_stopping", "on_fleet_stopped"
ON_WORKER_EXIT = "on_worker_exit"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process."""

    slot: int
    """0 to N-1; the worker that replaces this one has the same slot."""
    pid: int
    generation: int
    """The number of reloads before it started."""
    exit_code: int | None = None
    """In ``on_worker_exit``: its exit code, or the negative number of the signal that killed it, as in subprocess."""
    cause: str = ""
    """In ``on_worker_exit``: the same for people, for instance ``killed by SIGKILL``."""


@dataclass(frozen=True, slots=True)
class Template:
    """The process that has imported the application with ``--preload app``, and forks workers."""

    pid: int
    generation: int
    """The number of reloads before its workers start."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The supervisor and all its workers."""

    pid: int
    """The supervisor's process id."""
    size: int
    """The number of workers wanted."""
    generation: int
    """The number of reloads so far."""
    addresses: tuple[str, ...]
    """Where it listens, for instance ``http://127.0.0.1:8000`` or ``unix:/run/shop.sock``."""


Subject = Worker | Fleet | Template
"""What a hook is told about."""
IN_WORKER: dict[str, type[Subject]] = dict.fromkeys(
    (ON_WORKER_FORKED, ON_WORKER_START, ON_WORKER_READY, ON_WORKER_STOP), Worker
)
IN_TEMPLATE: dict[str, type[Subject]] = {ON_TEMPLATE_LOADED: Template}
IN_RUNNER: dict[str, type[Subject]] = {
    **dict.fromkeys((ON_FLEET_READY, ON_FLEET_RELOADED, ON_FLEET_STOPPING, ON_FLEET_STOPPED), Fleet),
    ON_WORKER_EXIT: Worker,
}
"""Called in the hook runner: hooks of the whole fleet, and of a worker that has ended."""
HOOKS = {**IN_TEMPLATE, **IN_WORKER, **IN_RUNNER}
"""Every hook, with the type of its argument."""
