"""The table of commands: what a client of the control socket may ask, with the check of each argument.

A command is an order to the fleet or a question. To add an order, add its value to ``orders.py`` and a row to ORDERS; the
fleet answers it. To add a question, add a row to QUESTIONS; it answers through its :class:`Request`, at once or later.
docs/control.md describes all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...config.options import LOG_LEVELS
from ...config.validators import wrong_share
from ...ipc.channel import Message, Shape, Violation, flag, number, text, whole
from ..answers import DONE, FAILED
from ..canary import Wish
from ..orders import Order, Reload, Reopen, Resize, Restart, SetLogLevel, Stop, StopNow, Upgrade
from ..snapshot import Snapshot
from .explanation import explained_status
from .inspection import environment, requests, stacks
from .metrics import metrics
from .request import Request
from .status import Supervised, too_few


def difference(value: Any) -> int:
    """A whole number, which may be negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if abs(value) > 2**31:
        raise ValueError
    return value


def level(value: Any) -> str:
    """One of ``--log-level``'s."""
    if value not in LOG_LEVELS:
        raise ValueError
    return text(value)


def _stop(message: Message, ticket: int) -> Order:
    return StopNow(ticket=ticket) if message.get("now") else Stop(ticket=ticket)


def _resize(message: Message, ticket: int) -> Order:
    if ("to" in message) == ("by" in message):
        raise Violation('a "resize" without one of "to" and "by"')
    return Resize(message.get("by", 0), message.get("to"), ticket)


def share(value: Any) -> str:
    """``N`` or ``N%``."""
    if wrong_share(found := text(value)):
        raise ValueError
    return found


def positive(value: Any) -> float:
    """A number of seconds above 0."""
    if (found := number(value)) <= 0:
        raise ValueError
    return found


def ratio(value: Any) -> float:
    """A number of at least 1: how many times as long."""
    if (found := number(value)) < 1:
        raise ValueError
    return found


def percent(value: Any) -> float:
    """A number from 0 to 100."""
    if not 0 <= (found := number(value)) <= 100:
        raise ValueError
    return found


CANARY = {"canary": share, "seconds": positive, "max_errors": percent, "max_latency": ratio, "canary_timeout": positive}


def _reload(message: Message, ticket: int) -> Order:
    given = [message.get(name) for name in CANARY]
    return Reload(canary=Wish(*given), ticket=ticket)


ORDERS: Mapping[str, tuple[Shape, Callable[[Message, int], Order]]] = {
    "reload": (Shape(optional=CANARY), _reload),
    "resize": (Shape(optional={"to": whole, "by": difference}), _resize),
    "restart": (Shape({"slot": whole}), lambda message, ticket: Restart(message["slot"], ticket)),
    "upgrade": (Shape(optional={"reload": flag}), lambda message, ticket: Upgrade(message.get("reload", False), ticket)),
    "stop": (Shape(optional={"now": flag}), _stop),
    "reopen-logs": (Shape(), lambda message, ticket: Reopen(ticket)),
    "log-level": (Shape({"level": level}), lambda message, ticket: SetLogLevel(message["level"], ticket)),
}
"""Makes an order of a message and the ticket under which it is answered."""


def _health(request: Request, snapshot: Snapshot, supervised: Supervised, now: float) -> None:
    wanted = snapshot.settled.config.ready_min
    found = {"ready": snapshot.ready, "ready_min": wanted}
    if snapshot.ready >= wanted:
        request.answer(DONE, found)
    else:
        request.answer(FAILED, {**found, "error": too_few(snapshot.ready, wanted)})


QUESTIONS: Mapping[str, tuple[Shape, Callable[[Request, Snapshot, Supervised, float], None]]] = {
    "status": (Shape(), explained_status),
    "health": (Shape(), _health),
    "requests": (Shape(optional={"slot": whole}), requests),
    "stacks": (Shape(optional={"slot": whole}), stacks),
    "environment": (Shape(), environment),
    "metrics": (Shape(), metrics),
}
"""Answers a request from the fleet's snapshot and the host, at the time ``now``."""
