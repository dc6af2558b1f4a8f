"""The phases of the fleet and of each worker, how long each may last, and what workers are born as."""

from __future__ import annotations

from enum import Enum, auto

from ..config.frozen import Value
from ..config.options import Config
from ..ipc.waits import Waits

HANG_REPORT = 0.5
"""Seconds a hung worker gets to write down its stacks."""
LEAVING_FAILED = 1.0
"""Seconds a worker gets to exit after it reported that it could not start."""
CALLING_OFF = 1.0
"""Seconds a worker that is not needed before it is ready gets to exit, or to say that it is ready."""
QUITTING = 1.0
"""Seconds a worker gets to exit when told to do so at once."""
UNKILLABLE = 5.0
"""Seconds after SIGKILL until the fleet no longer waits for a process: the kernel keeps some in state D."""
ANSWERING = 2.0
"""Seconds in which a worker that drains must have said for what it waits, which it does at its next beat, or be gone."""
DRAIN_MARGIN = 2.0
"""Seconds beyond the grace period, in which the worker itself cancels what is left."""

DELIVERING = 5.0
"""Seconds until a worker that is delivering last responses, and says so every second, must say it again."""


class Phase(Enum):
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
    """Told to leave before we knew that it is ready. It exits at once; or it has just begun to serve, and drains."""
    KILLED = auto()
    """Sent SIGKILL."""


class Stage(Enum):
    """The fleet's own phase."""

    BOOTING = auto()
    """No worker was ever ready."""
    SERVING = auto()
    LEAVING = auto()
    """Still serving, while load balancers are told that we are not ready."""
    STOPPING = auto()
    QUITTING = auto()
    FINISHED = auto()


RUNNING = (Stage.BOOTING, Stage.SERVING)


class Plan(Value):
    """What new workers are born as."""

    generation: int
    config: Config


class Worker:
    """What the fleet knows of one worker."""

    def __init__(self, id: int, slot: int, plan: Plan, since: float, deadline: float) -> None:
        self.id = id
        self.slot = slot
        self.plan = plan
        self.since = since
        """When it was forked."""
        self.deadline = deadline
        """When its phase will have lasted too long."""
        self.phase = Phase.STARTING
        self.standing = Phase.STARTING
        """Its phase; of a hung worker, the phase in which it hung."""
        self.beat = 0.0
        """The last known beat."""
        self.recycling = ""
        """Why it is to be recycled, if so."""

        self.waits: Waits | None = None
        """What it waits for while it drains, if it has told."""
        self.told_at = 0.0
        """When it told that."""
        self.answer_by: float | None = None
        """While it drains: when it must have answered that order."""

    def __repr__(self) -> str:
        return f"Worker({self.id}, slot {self.slot}, {self.phase.name}, until {self.deadline:g})"

    def enter(self, phase: Phase, deadline: float) -> None:
        self.phase, self.deadline, self.answer_by = phase, deadline, None
        if phase is not Phase.HUNG:
            self.standing = phase

    def enter_draining(self, now: float, seconds: float) -> None:
        """It was told through its channel to be gone in so many ``seconds``."""
        self.enter(Phase.DRAINING, now + seconds)
        self.answer_by = now + ANSWERING if self.waits is None else None

    @property
    def is_occupying(self) -> bool:
        """Whether it counts as the worker of its slot: a hung one does until it is killed, for it may yet come back."""
        return self.standing in (Phase.STARTING, Phase.READY)

    def may_drain_for(self, patient: bool) -> float:
        """Seconds from the order to drain until it is overdue."""
        config = self.plan.config
        if patient:
            # Idle connections stay until their keep-alive timeout, which the worker looks at once a second.
            return max(config.timeout_graceful_shutdown, config.timeout_keep_alive + 1) + DRAIN_MARGIN
        return config.timeout_graceful_shutdown + DRAIN_MARGIN
