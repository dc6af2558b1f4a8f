"""The phases of the fleet and of each worker, how long each may last, and what workers are born as."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from ..config.frozen import Value
from ..config.options import Config, reload_grace
from ..ipc.waits import Waits

ASKING = 1.0
"""Seconds in which a template must fork the next of the workers that it was asked for. It takes some milliseconds."""
HANG_REPORT = 0.5
"""Seconds that a hung worker gets to write down its stacks."""
LEAVING_FAILED = 1.0
"""Seconds that a worker gets to exit after it reported that it could not start."""
CALLING_OFF = 1.0
"""Seconds that a worker which is called off gets to exit, or to say that it is ready."""
QUITTING = 1.0
"""Seconds that a worker gets to exit when it is told to do so at once."""
UNKILLABLE = 5.0
"""Seconds after SIGKILL until the fleet no longer waits for a process: the kernel keeps some in state D."""
ANSWERING = 2.0
"""Seconds in which a draining worker must have said what it waits for, or be gone. It says so at its next beat."""
DRAIN_MARGIN = 2.0
"""Seconds beyond the grace period, in which the worker itself cancels what is left."""

DELIVERING = 5.0
"""Seconds in which a worker that delivers last responses must say so again. It says so every second."""


class Phase(Enum):
    """A worker's phase; see the picture in ``fleet.py``."""

    ASKED = auto()
    """A template was asked to fork it."""
    STARTING = auto()
    """Forked; imports the application."""
    READY = auto()
    """Serves."""
    HUNG = auto()
    """Passed a deadline; its stacks are being written down."""
    DRAINING = auto()
    """Told to finish and exit."""
    FAILED = auto()
    """Reported that it could not start; about to exit."""
    CALLED_OFF = auto()
    """Told to leave before it was known to be ready. It exits at once, or drains if it has just begun to serve."""
    KILLED = auto()
    """Sent SIGKILL."""


COMING = (Phase.ASKED, Phase.STARTING)
"""The phases before a worker is ready."""


class Stage(Enum):
    """The fleet's own phase."""

    BOOTING = auto()
    """No worker was ever ready."""
    SERVING = auto()
    """A worker was ready."""
    LEAVING = auto()
    """Workers still serve, but tell load balancers that they are not ready (``--shutdown-delay``)."""
    STOPPING = auto()
    """All workers drain."""
    QUITTING = auto()
    """All workers exit at once."""
    FINISHED = auto()
    """No worker is left."""


RUNNING = (Stage.BOOTING, Stage.SERVING)


class Plan(Value):
    """What new workers are born as."""

    generation: int
    config: Config


class ExitReason(Enum):
    """Why a worker is gone."""

    CRASH = "crash"
    OOM = "oom"
    """The kernel killed it because memory ran out."""
    HANG = "hang"
    """Its event loop did not turn, so it was killed."""
    STARTUP = "startup"
    """It did not become ready."""
    REQUESTS = "requests"
    """``--limit-max-requests``."""
    LIFETIME = "lifetime"
    """``--limit-max-lifetime``."""
    MEMORY = "memory"
    """``--limit-max-rss``."""
    RELOAD = "reload"
    """A newer worker took its place: after a reload, or by an order to restart the slot."""
    RESIZE = "resize"
    STOP = "stop"


class Worker:
    """One worker, as the fleet has it."""

    def __init__(self, id: int, slot: int, plan: Plan, since: float, deadline: float, template: int | None = None) -> None:
        self.id = id
        self.slot = slot
        self.plan = plan
        self.template = template
        """The template that forks it; None if the host decides that."""
        self.since = since
        """When it was forked, or asked for."""
        self.deadline = deadline
        """When its phase has lasted too long."""
        self.phase = self.standing = Phase.STARTING if template is None else Phase.ASKED
        """Its phase; of a hung worker, the phase in which it hung."""
        self.beat = 0.0
        """The last known beat."""
        self.recycling = ""
        """Why it is to be recycled, if so."""
        self.fate: ExitReason | None = None
        """Why it ends, once that is decided."""
        self.error = ""
        """With ``--reload``: the error that it shows instead of the application, if so."""

        self.waits: Waits | None = None
        """What it waits for while it drains; None until it has said so."""
        self.told_at = 0.0
        """When it said so."""
        self.answer_by: float | None = None
        """While it drains: when it must have answered that order."""

    @classmethod
    def restored(cls, state: Mapping[str, Any], plan: Plan) -> Worker:
        """The worker whose :meth:`state` that is; ``plan`` is what it was born as."""
        worker = cls(state["id"], state["slot"], plan, state["since"], state["deadline"])
        worker.phase, worker.standing = Phase[state["phase"]], Phase[state["standing"]]
        worker.beat, worker.recycling, worker.error = state["beat"], state["recycling"], state["error"]
        worker.fate = ExitReason(state["fate"]) if state["fate"] is not None else None
        worker.waits = Waits(*state["waits"]) if state["waits"] is not None else None
        worker.told_at, worker.answer_by = state["told_at"], state["answer_by"]
        return worker

    def state(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "id": self.id,
            "slot": self.slot,
            "generation": self.plan.generation,
            "since": self.since,
            "deadline": self.deadline,
            "phase": self.phase.name,
            "standing": self.standing.name,
            "beat": self.beat,
            "recycling": self.recycling,
            "fate": None if self.fate is None else self.fate.value,
            "error": self.error,
            "waits": None if self.waits is None else [*vars(self.waits).values()],
            "told_at": self.told_at,
            "answer_by": self.answer_by,
        }

    def postpone(self, seconds: float) -> None:
        """Nobody could hear it for so long: its deadlines come so much later."""
        self.deadline += seconds
        if self.answer_by is not None:
            self.answer_by += seconds

    def __repr__(self) -> str:
        return f"Worker({self.id}, slot {self.slot}, {self.phase.name}, until {self.deadline:g})"

    def enter(self, phase: Phase, deadline: float) -> None:
        """Begin ``phase``, which must end by ``deadline``."""
        self.phase, self.deadline, self.answer_by = phase, deadline, None
        if phase is not Phase.HUNG:
            self.standing = phase

    def enter_draining(self, now: float, seconds: float) -> None:
        """It was told through its channel to drain, and to be gone in so many ``seconds``."""
        self.enter(Phase.DRAINING, now + seconds)
        self.answer_by = now + ANSWERING if self.waits is None else None

    @property
    def is_occupying(self) -> bool:
        """Whether it counts as the worker of its slot. A hung one does until it is killed: it may come back."""
        return self.standing in (*COMING, Phase.READY)

    def may_drain_for(self, patient: bool) -> float:
        """Seconds from the order to drain until it is overdue."""
        config = self.plan.config
        if patient:
            # Idle connections stay until their keep-alive timeout, which the worker checks once a second.
            return max(reload_grace(config), config.timeout_keep_alive + 1) + DRAIN_MARGIN
        return config.timeout_graceful_shutdown + DRAIN_MARGIN
