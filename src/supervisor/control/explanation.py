"""The question ``status``: a worker whose event loop does not turn is asked where it is.

``--report-stalls`` finds that out, too, but only when the stall has lasted that long, and not if it is off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ipc.waits import name_request
from ..answers import DONE
from ..inspector import Inspected
from ..phases import Phase
from ..snapshot import Snapshot
from ..stalls import Blocked
from .request import Request
from .status import Supervised, blocked_status, lateness, status

LATE = 0.25
"""Seconds by which a beat is late before the worker is asked. On a busy machine the beats of loops that turn are late by some
tens of milliseconds; and a worker that does not answer soon gets a signal."""


def explained_status(request: Request, snapshot: Snapshot, supervised: Supervised, now: float) -> None:
    """Everything: at once or, if workers have to be asked, within 0.2 s."""
    told, late = status(snapshot, supervised, now), late_workers(snapshot, supervised, now)

    def answer(found: Sequence[Inspected]) -> None:
        request.answer(DONE, explain(told, found, late))

    if not late or not supervised.processes.inspect(late, False, answer):
        request.answer(DONE, told)


def late_workers(snapshot: Snapshot, supervised: Supervised, now: float) -> dict[int, float]:
    """The workers whose event loops seem not to turn, and for how many seconds; without those of which it is known where they
    are."""
    late = {}
    for worker in snapshot.workers:
        row, blocked = supervised.processes.row_of(worker.id), supervised.processes.blocked(worker.id, now)
        is_known = blocked is not None and blocked.line
        if worker.phase in (Phase.READY, Phase.HUNG) and not is_known and row is not None:
            late[worker.id] = lateness(row, now)
    return {worker: seconds for worker, seconds in late.items() if seconds >= LATE}


def explain(told: dict[str, Any], found: Sequence[Inspected], late: Mapping[int, float]) -> dict[str, Any]:
    """``told``, which ``status`` says, with what the workers that are ``late`` have said of themselves."""
    reports = {one.worker: one.report for one in found if not one.report.loop_turns}
    for worker in told["workers"]:
        if (report := reports.get(worker["id"])) is not None:
            requests = report.requests
            # Which of several requests it is only the samples of --report-stalls say.
            request = name_request(f"{requests[0].method} {requests[0].path}") if len(requests) == 1 else ""
            worker["blocked"] = blocked_status(Blocked(late[worker["id"]], request, report.line))
            worker["in_flight"] = max(worker["in_flight"], len(requests))
    return told
