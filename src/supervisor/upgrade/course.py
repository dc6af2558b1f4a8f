"""What an upgrade does next. Pure: it gets the fleet's snapshot, and returns a step.

    IDLE --> WAITING --> CHECKING --> CHECKED --> (another program is executed)
                ^           |            |
                |           v            v
                +------- refused: IDLE again, and the fleet goes on

It waits while the fleet starts, and for a reload that is under way; then a check runs, and meanwhile all goes on. When that has
succeeded, it waits for a reload that began meanwhile, and for a moment in which no short answer is due. An order to
stop ends it.
"""

from __future__ import annotations

from enum import Enum, auto

from ..orders import Reload, Upgrade
from ..phases import Stage
from ..snapshot import Snapshot


class Phase(Enum):
    """How far the upgrade is."""

    IDLE = auto()
    WAITING = auto()
    """For the fleet to be settled."""
    CHECKING = auto()
    CHECKED = auto()
    """The check has succeeded."""


class Step(Enum):
    """What is to be done now."""

    NOTHING = auto()
    CHECK = auto()
    """Begin the check."""
    LEAVE = auto()
    """Execute the new program."""
    CALL_OFF = auto()
    """The server stops: end the check, and say so to all that wait."""


class Course:
    """One upgrade after another. Orders that come while one is under way join it."""

    def __init__(self) -> None:
        self.phase = Phase.IDLE
        self.orders: list[Upgrade] = []
        """Those that this upgrade obeys."""

    def ask(self, order: Upgrade) -> None:
        """An order to upgrade came."""
        self.orders.append(order)
        if self.phase is Phase.IDLE:
            self.phase = Phase.WAITING

    def next(self, snapshot: Snapshot, is_quiet: bool) -> Step:
        """The step to take now. ``is_quiet``: whether nothing is half done between the fleet's decisions."""
        if self.phase is Phase.IDLE:
            return Step.NOTHING
        if not snapshot.is_running:
            return Step.CALL_OFF
        is_settled = snapshot.stage is Stage.SERVING and snapshot.plan is snapshot.settled
        if self.phase is Phase.WAITING and is_settled:
            self.phase = Phase.CHECKING
            return Step.CHECK
        return Step.LEAVE if self.phase is Phase.CHECKED and is_settled and is_quiet else Step.NOTHING

    def checked(self) -> None:
        """The check has succeeded."""
        self.phase = Phase.CHECKED

    def end(self) -> list[int]:
        """The upgrade is over; returns the tickets under which clients wait for its end."""
        tickets = [order.ticket for order in self.orders if order.ticket is not None]
        self.phase, self.orders = Phase.IDLE, []
        return tickets


def following(orders: list[Upgrade]) -> tuple[list[int], list[Reload]]:
    """After an upgrade that obeyed ``orders``: the tickets to be answered at once, and the reloads that answer the others.

    Several reloads at the same time are one, and all are told of its end.
    """
    at_once = [order.ticket for order in orders if not order.reload and order.ticket is not None]
    return at_once, [Reload(ticket=order.ticket) for order in orders if order.reload]
