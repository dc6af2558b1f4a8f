"""Imports into the supervisor, when the fleet has settled, what the workers that it forks later may need.

The installed packages may be replaced or deleted under a running server. Workers of one server must have one version of it.
"""

from __future__ import annotations

from ..config.options import Config
from ..worker import main as worker_run
from .fleet import Fleet
from .phases import Stage

SETTLED = 5.0
"""Seconds from the first ready worker until the imports begin: starts, of which there are many at first, must not wait."""
PAUSE = 0.05
"""Seconds between two imports. Each takes 20 ms at most, and signals are to be answered within 100 ms."""


class Provision:
    """Looks at the fleet after each wake-up, as the others do who follow its life."""

    def __init__(self, config: Config) -> None:
        self._names = worker_run.late_modules(config)
        self.due: float | None = None
        """When it wants to look again."""

    def look(self, fleet: Fleet, now: float) -> None:
        """Import what is due by ``now``, one module at most."""
        if not self._names or fleet.stage is not Stage.SERVING:
            self.due = None
        elif self.due is None:
            self.due = now + SETTLED
        elif self.due <= now:
            worker_run.import_next(self._names)
            self.due = now + PAUSE if self._names else None
