"""Which workers are too many, and which slots need one. Pure functions of workers and plan."""

from __future__ import annotations

from collections.abc import Collection

from ..config.frozen import Value
from .phases import Plan, Worker


class Vacancies(Value):
    """The slots that need a worker, and how many may be forked for them now."""

    empty: list[int]
    """Slots without a worker."""
    stale: list[int]
    """Slots in which all workers are obsolete."""
    room: int
    """Workers that may be forked without there being more than ``surge`` extra."""


def vacancies(workers: Collection[Worker], size: int, plan: Plan) -> Vacancies:
    """The slots, of ``size``, that ``workers`` leave without a worker of ``plan``."""
    slots: dict[int, list[Worker]] = {slot: [] for slot in range(size)}
    occupying = [worker for worker in workers if worker.is_occupying]
    for worker in occupying:
        if worker.slot < size:
            slots[worker.slot].append(worker)
    empty = [slot for slot, its in slots.items() if not its]
    stale = [slot for slot, its in slots.items() if its and all(is_obsolete(worker, plan) for worker in its)]
    return Vacancies(empty, stale, size + plan.config.surge - len(occupying))


def is_obsolete(worker: Worker, plan: Plan) -> bool:
    """Whether ``worker`` needs a successor."""
    return worker.plan.generation < plan.generation or bool(worker.recycling)


def surplus(ready: Collection[Worker], size: int) -> list[Worker]:
    """Those of the ``ready`` workers that are not needed: ``size`` are left without them."""
    newest: dict[int, int] = {}
    for worker in ready:
        newest[worker.slot] = max(worker.id, newest.get(worker.slot, 0))
    found = [worker for worker in ready if worker.slot >= size or worker.id != newest[worker.slot]]
    found.sort(key=lambda worker: (worker.slot < size, -worker.slot, worker.id))
    return found[: max(0, len(ready) - size)]
