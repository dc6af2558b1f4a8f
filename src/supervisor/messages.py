"""The facts that come in to the fleet and the actions that go out, as frozen values. Pure.

A worker is named by its ``id``, which is never used again; only the host knows pids. Times are seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from ..config.frozen import Value
from ..config.options import Config
from ..ipc.waits import Waits
from .canary import Evidence
from .orders import Order

# ---------------------------------------------------------------------------------------------------------------- facts


class Ready(Value):
    """The worker listens and its application has started up."""

    worker: int
    error: str | None = None
    """With ``--reload``: why the application did not start. The worker shows this error to every client."""


class Failed(Value):
    """The worker could not start, and is about to exit."""

    worker: int
    error: str
    """The text to print: the application's traceback, or one line for a mistake of the operator."""


class Beat(Value):
    """The worker's event loop turned at the time ``at``."""

    worker: int
    at: float


class Exited(Value):
    """The worker's process is gone, or could not even be forked."""

    worker: int
    cause: str
    """For people: ``exit code 1``, ``killed by SIGKILL`` ..."""


class Recycle(Value):
    """The worker is to be replaced. It asks for that itself (age, requests), or the supervisor measured it (memory)."""

    worker: int
    reason: str


class Delivering(Value):
    """The worker drains for a saved file, and only sends last responses to slow clients. It says so every second."""

    worker: int


class Violated(Value):
    """The worker said something that it must not say. What it says from now on is not read."""

    worker: int
    what: str
    """For people: what it did, in one line that is fit for the log."""


class Deaf(Value):
    """The worker closed its channel and still lives: it gets no order, and would not notice the supervisor's death."""

    worker: int


class Waiting(Value):
    """The worker drains, and is not done yet."""

    worker: int
    waits: Waits


class Asked(Value):
    """With ``--reload``: a template was asked to fork the worker. With ``--preload`` the fleet itself has said which one."""

    worker: int


class Forked(Value):
    """The template has forked the worker."""

    worker: int


class NotForked(Value):
    """The template could not fork the worker: there is none."""

    worker: int


class TemplateReady(Value):
    """The template has imported what workers share."""

    template: int
    has_app: bool
    """Whether that is the application, too."""


class TemplateLost(Value):
    """The template lives, but does not do what it is for."""

    template: int
    why: str
    """For people: what it does or does not do."""
    is_outdated: bool = False
    """Whether it is not to blame: the installed packages have changed."""


class TemplateGone(Value):
    """The template's process is gone, or could not even be forked."""

    template: int
    cause: str
    """As of :class:`Exited`."""
    is_excused: bool = False
    """Whether that says nothing against the next one: it has found out what that one needs, or was ended for an upgrade."""


class Measured(Value):
    """What the canaries of a generation, and all other workers, have answered: asked for by :class:`Measure`."""

    generation: int
    evidence: Evidence


WorkerFact = Ready | Failed | Beat | Exited | Asked | Forked | NotForked | Recycle | Delivering | Waiting | Violated | Deaf
TemplateFact = TemplateReady | TemplateLost | TemplateGone
Fact = WorkerFact | TemplateFact | Measured | Order

# -------------------------------------------------------------------------------------------------------------- actions


class Level(IntEnum):
    """The level of a log line; the numbers are those of :mod:`logging`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Spawn(Value):
    """Fork a worker."""

    worker: int
    slot: int
    generation: int
    config: Config
    template: int | None = None
    """The template, of the same generation, that forks it; None if the host does."""


class GiveUp(Value):
    """Wait no more for the worker that a template was asked for. If it is forked all the same, it must end."""

    worker: int
    is_late: bool = False
    """Whether the template has had its time. That of ``--reload``, which the fleet does not know, must end."""


class StartTemplate(Value):
    """Fork a template."""

    template: int
    generation: int
    config: Config


class EndTemplate(Value):
    """SIGKILL for a template. It serves nobody."""

    template: int


class Unready(Value):
    """Let the worker say "not ready" to load balancers, while it goes on serving."""

    worker: int


class Drain(Value):
    """Let the worker stop accepting, finish what is in flight, and exit."""

    worker: int
    patient: bool
    """Whether idle keep-alive connections stay open until their next request or their time-out."""
    hand_off: bool = False
    """Whether a newer worker gets what no request came on yet: idle connections, and those in the listener's queue."""


class DrainBySignal(Value):
    """Tell the worker by a signal what it was told through its channel: it has not answered."""

    worker: int


class CallOff(Value):
    """Let a worker that is not known to be ready exit at once. If it serves already, it drains."""

    worker: int
    patient: bool
    hand_off: bool = False


class Quit(Value):
    """Let the worker exit at once, by itself."""

    worker: int


class ReportHang(Value):
    """Let the worker write down its stacks: it is about to be killed."""

    worker: int


class Kill(Value):
    """SIGKILL."""

    worker: int


class ReopenLogs(Value):
    """Open log files again, in the supervisor and in all workers."""

    ticket: int | None = None
    """The order's ticket: the host does the work, and answers."""


class Say(Value):
    """A line for the error log. If it names a worker, the host adds slot and pid."""

    level: Level
    text: str
    worker: int | None = None


class CloseListeners(Value):
    """Close the listeners: the kernel then refuses new connections at once, and none waits in a queue."""


class SetLevel(Value):
    """Log only from ``level`` on, here and in all workers, also those that are forked later."""

    level: str


class Answer(Value):
    """The answer to the order with this ticket: the only one."""

    ticket: int
    code: int
    """The exit code of ``tricornctl``: 0 done, 2 the order makes no sense, 3 it was carried out and failed."""
    details: Mapping[str, Any]
    """What to show, fit for JSON. A failure has an ``error`` that is not empty."""


class Measure(Value):
    """Tell what canaries and others have answered since the canaries began."""

    generation: int
    """The canaries'."""
    max_latency: float
    fresh: bool = False
    """They begin now."""


class Finish(Value):
    """No worker is left: exit with ``code``."""

    code: int
    at_once: bool = False
    """Whether to exit without waiting for auxiliaries that finish their work."""


Action = (
    Spawn
    | GiveUp
    | StartTemplate
    | EndTemplate
    | Unready
    | Drain
    | DrainBySignal
    | CallOff
    | Quit
    | ReportHang
    | Kill
    | Measure
    | ReopenLogs
    | SetLevel
    | Say
    | Answer
    | CloseListeners
    | Finish
)
