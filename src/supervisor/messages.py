"""The facts that come in to the fleet and the actions that go out, as frozen values.

A worker is named by its ``id``, which is never used again; pids are known to ``host.py`` alone. Times are seconds of
CLOCK_MONOTONIC.
"""

from __future__ import annotations

from enum import IntEnum

from ..config.frozen import Value
from ..config.options import Config
from ..ipc.waits import Waits

MOST_NAMED = 3
"""Saved files that are named."""

# ---------------------------------------------------------------------------------------------------------------- facts


class Ready(Value):
    """The worker listens and its application has started up."""

    worker: int
    error: str | None = None
    """With ``--reload``: why the application did not start, so that the worker shows this error to whoever asks."""


class Failed(Value):
    """The worker could not start, and is about to exit."""

    worker: int
    error: str
    """To be printed as it is: the application's traceback, or one line for a mistake of the operator."""


class Beat(Value):
    """The worker's event loop turned at the time ``at``."""

    worker: int
    at: float


class Exited(Value):
    """The worker's process is gone, or could not even be forked."""

    worker: int
    cause: str
    """For people: ``exit code 1``, ``killed by SIGKILL`` ..."""


class Retire(Value):
    """The worker asks to be recycled (age, number of requests)."""

    worker: int
    reason: str


class Delivering(Value):
    """The worker has drained for a saved file, but for responses that clients are still taking; it says so every second."""

    worker: int


class Recycle(Value):
    """The worker should be recycled because of what was measured on it (memory)."""

    worker: int
    reason: str


class Violated(Value):
    """The worker said what it must not say, so nothing that it says can be understood any more."""

    worker: int
    what: str
    """For people: what it did, in one line that is fit for the log."""


class Deaf(Value):
    """The worker has closed its channel, and is not gone: it hears no order, and would not notice our death."""

    worker: int


class Waiting(Value):
    """The worker drains, and is not done yet."""

    worker: int
    waits: Waits


class Reload(Value):
    """Replace all workers by a new generation, born with ``config`` (None: with the one in use)."""

    config: Config | None = None
    changed: tuple[str, ...] = ()
    """The files that were saved, if that is why."""
    since: float | None = None
    """When they were."""
    afresh: bool = True
    """Whether the configuration is read again first: not if only the application's files were saved."""

    @property
    def announcement(self) -> str:
        """The line that says which files were saved; nothing if none was."""
        if not self.changed:
            return ""
        more = len(self.changed) - MOST_NAMED
        return f"{', '.join(self.changed[:MOST_NAMED])}{f' and {more} more' if more > 0 else ''} changed: reloading"


class Resize(Value):
    """Want ``by`` workers more (fewer if negative)."""

    by: int


class Reopen(Value):
    """Log files were moved away: open them again."""


class Stop(Value):
    """Finish what is in flight and exit; a second wish (see wishes.py): exit at once."""

    delayed: bool = True
    """Whether ``--shutdown-delay`` applies: to a load balancer's SIGTERM, not to a person's Ctrl-C."""
    typed: bool = False
    """Whether it is Ctrl-C at our terminal."""


class StopNow(Value):
    """Exit within a second."""


WorkerFact = Ready | Failed | Beat | Exited | Retire | Delivering | Recycle | Waiting | Violated | Deaf
Order = Reload | Resize | Reopen | Stop | StopNow
Fact = WorkerFact | Order

# -------------------------------------------------------------------------------------------------------------- actions


class Level(IntEnum):
    """How grave a log line is; the numbers are those of :mod:`logging`."""

    INFO = 20
    WARNING = 30
    ERROR = 40


class Spawn(Value):
    """Fork a worker."""

    worker: int
    slot: int
    generation: int
    config: Config


class Unready(Value):
    """Let the worker say "not ready" to load balancers, while it goes on serving."""

    worker: int


class Drain(Value):
    """Let the worker stop accepting, finish what is in flight, and exit."""

    worker: int
    patient: bool
    """Whether idle keep-alive connections are kept until their next request or their timeout."""
    hand_on: bool = False
    """Whether a newer worker gets what has not asked yet: idle connections, and those that wait in the listener's queue."""


class CallOff(Value):
    """Let the worker, of which we do not know that it is ready, exit at once; if it serves already, as Drain does."""

    worker: int
    patient: bool
    hand_on: bool = False


class Quit(Value):
    """Let the worker exit at once, by itself."""

    worker: int


class Autopsy(Value):
    """Let the worker write down its stacks: it is about to be killed."""

    worker: int


class Kill(Value):
    """SIGKILL."""

    worker: int


class ReopenLogs(Value):
    """Open log files again, in the supervisor and in all workers."""


class Say(Value):
    """A line for the error log; the host adds slot and pid where a worker is named."""

    level: Level
    text: str
    worker: int | None = None


class CloseListeners(Value):
    """Nobody accepts any more: new connections are to be refused at once, rather than wait in a queue until we exit."""


class Finish(Value):
    """Nobody is left: exit with ``code``."""

    code: int
    at_once: bool = False
    """Whether nothing is waited for that is still to be told to anybody."""


Action = Spawn | Unready | Drain | CallOff | Quit | Autopsy | Kill | ReopenLogs | Say | CloseListeners | Finish
