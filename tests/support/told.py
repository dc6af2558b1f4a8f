"""A fleet under test, told facts one after the other."""

from __future__ import annotations

from typing import Any

from tricorn.config.options import Config
from tricorn.supervisor.fleet import Fleet
from tricorn.supervisor.messages import Action, Beat, CloseListeners, Fact, Level, Say, Spawn
from tricorn.supervisor.phases import Phase


class Told:
    """A fleet, the time, and all that it said; no jitter."""

    def __init__(self, workers: int = 1, **options: Any) -> None:
        self.config = Config(app="a:b", workers=workers, **options)
        self.fleet = Fleet(self.config, jitter=lambda: 0.0)
        self.now = 0.0
        self.said: list[Say] = []
        self.deaf = False
        """Whether the listeners were closed."""
        self.tell()

    def tell(self, *facts: Fact, after: float = 0.0) -> list[Action]:
        """Tell ``facts`` some seconds ``after`` the last; returns the actions that concern workers."""
        self.now += after
        actions = self.fleet.handle(facts, self.now)
        self.said += [action for action in actions if isinstance(action, Say)]
        self.deaf = self.deaf or CloseListeners() in actions
        return [action for action in actions if not isinstance(action, Say | CloseListeners)]

    def beat(self, after: float = 0.0) -> list[Action]:
        """Some seconds later all workers beat."""
        self.now += after
        return self.tell(*(Beat(worker, self.now) for worker in self.fleet.workers))

    def spawn(self, worker: int, slot: int = 0, generation: int = 0) -> Spawn:
        return Spawn(worker, slot, generation, self.config)

    def phase(self, worker: int = 1) -> Phase | None:
        found = self.fleet.workers.get(worker)
        return found.phase if found is not None else None

    def phases(self) -> list[tuple[int, Phase]]:
        return [(worker.id, worker.phase) for worker in self.fleet.workers.values()]

    def texts(self, level: Level = Level.INFO) -> list[str]:
        return [say.text for say in self.said if say.level >= level]
