"""The questions ``requests``, ``stacks`` and ``environment``: what workers are doing, and what they run on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from ...config.options import OPTIONS
from ...ipc.control import EXAMINED
from ...worker.main import loop_name
from ..answers import DONE, SENSELESS
from ..inspector import Inspected
from ..snapshot import Snapshot
from .request import Request
from .status import Supervised

Show = Callable[[list[Inspected]], Mapping[str, Any]]


def requests(request: Request, snapshot: Snapshot, supervised: Supervised, now: float) -> None:
    """All requests in flight. The workers are asked, so it is answered later."""
    _inspect(request, snapshot, supervised, False, show_requests)


def stacks(request: Request, snapshot: Snapshot, supervised: Supervised, now: float) -> None:
    """Threads and tasks of all workers, or of those of one slot."""
    _inspect(request, snapshot, supervised, True, show_stacks)


def _inspect(request: Request, snapshot: Snapshot, supervised: Supervised, stacks: bool, show: Show) -> None:
    slot: int | None = request.arguments.get("slot")
    workers = {worker.id for worker in snapshot.workers if slot is None or worker.slot == slot}
    if not workers and slot is not None:
        request.answer(SENSELESS, {"error": f"there is no worker in slot {slot}"})
    elif not supervised.processes.inspect(workers, stacks, lambda found: request.answer(DONE, show(found))):
        request.answer(SENSELESS, {"error": "too many questions at once"})


def show_requests(found: list[Inspected]) -> dict[str, Any]:
    """The requests, the oldest first; and for each worker whose event loop does not turn, the line that it is at."""
    listed = [{"slot": one.slot, **vars(request)} for one in found for request in one.report.requests]
    listed.sort(key=lambda request: -request["age"])
    blocked = [one for one in found if not one.report.loop_turns]
    return {
        "requests": listed,
        "blocked": [{"slot": one.slot, "pid": one.pid, "line": one.report.line or None} for one in blocked],
    }


def show_stacks(found: list[Inspected]) -> dict[str, Any]:
    """One text for each worker."""
    return {
        "workers": [
            {
                "slot": one.slot,
                "pid": one.pid,
                "answered_by": one.answered_by,
                "line": one.report.line or None,
                "stacks": one.report.text,
            }
            for one in found
        ]
    }


def environment(request: Request, snapshot: Snapshot, supervised: Supervised, now: float) -> None:
    """What ``tricornctl doctor`` can't see from outside: the options (none that is a secret), event loop and time zone."""
    config = snapshot.settled.config
    options = {name: getattr(config, name) for name, known in OPTIONS.items() if not known.secret}
    loop, offset = loop_name(config.loop), time.localtime().tm_gmtoff
    pids = [supervised.processes.pid_of(worker.id) for worker in snapshot.workers]
    told = {"options": options, "event_loop": loop, "utc_offset": offset, "pids": [pid for pid in pids if pid]}
    request.answer(DONE, {**told, "variables": {name: os.environ[name] for name in EXAMINED if name in os.environ}})
