"""Which workers are too many, and which slots need one. Pure functions of workers and plan."""

from __future__ import annotations

from collections.abc import Collection

from ..config.frozen import Value
from .phases import Phase, Plan, Worker


class Vacancies(Value):
    """The slots that need a worker, and how many may be forked for them now."""

    empty: list[int]
    """Slots without a worker."""
    stale: list[int]
    """Slots in which all workers are obsolete."""
    room: int
    """Workers that may be forked without there being more than ``surge`` extra. With ``--surge 0`` all processes count that are
    not gone: the machine has no room for one that drains and its successor."""


def vacancies(workers: Collection[Worker], size: int, plan: Plan, everybody: int) -> Vacancies:
    """The slots, of ``size``, that ``workers`` leave without a worker of ``plan``. ``everybody``: all processes."""
    slots: dict[int, list[Worker]] = {slot: [] for slot in range(size)}
    occupying = [worker for worker in workers if worker.is_occupying]
    for worker in occupying:
        if worker.slot < size:
            slots[worker.slot].append(worker)
    empty = [slot for slot, its in slots.items() if not its]
    stale = [slot for slot, its in slots.items() if its and all(is_obsolete(worker, plan) for worker in its)]
    present = len(occupying) if plan.config.surge else everybody
    return Vacancies(empty, stale, size + plan.config.surge - present)


def is_obsolete(worker: Worker, plan: Plan) -> bool:
    """Whether ``worker`` needs a successor."""
    return worker.plan.generation < plan.generation or bool(worker.recycling)


def displaced(workers: Collection[Worker], size: int, plan: Plan) -> Worker | None:
    """With ``--surge 0``: the worker that has to leave before another can start; None if none has to now.

    That is a worker that its slot does not need, else the oldest obsolete one. It leaves only when the wanted number is ready
    and no worker is in another phase. So one slot at a time is empty.
    """
    if plan.config.surge or len(workers) < size or any(worker.phase is not Phase.READY for worker in workers):
        return None
    obsolete = sorted((worker for worker in workers if is_obsolete(worker, plan)), key=lambda worker: worker.id)
    return next(iter([*_unneeded(workers, size), *obsolete]), None)


def surplus(ready: Collection[Worker], size: int) -> list[Worker]:
    """Those of the ``ready`` workers that are not needed: ``size`` are left without them."""
    return _unneeded(ready, size)[: max(0, len(ready) - size)]


def _unneeded(ready: Collection[Worker], size: int) -> list[Worker]:
    """Those that lie beyond the size, or in whose slots there is a newer one."""
    newest: dict[int, int] = {}
    for worker in ready:
        newest[worker.slot] = max(worker.id, newest.get(worker.slot, 0))
    found = [worker for worker in ready if worker.slot >= size or worker.id != newest[worker.slot]]
    return sorted(found, key=lambda worker: (worker.slot < size, -worker.slot, worker.id))
