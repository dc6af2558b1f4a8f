"""Imports into the supervisor, once the fleet has settled, what the workers that it forks later may need.

The installed packages may be replaced or deleted under a running server, and all workers of one server must have one version of
them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..config.options import Config
from ..worker import late
from .phases import Stage
from .snapshot import Snapshot

SETTLED = 5.0
"""Seconds from the first ready worker until the imports begin: they must not slow down the first starts."""
PAUSE = 0.05
"""Seconds between two imports. Each takes 20 ms at most, and a signal must be answered within 100 ms."""


class Provision:
    """An observer that imports one module at a time while the fleet serves."""

    def __init__(self, config: Config, own: Sequence[str] = ()) -> None:
        """``own`` names modules that the supervisor itself may need."""
        self._names = [*own, *late.names(config)]
        self.due: float | None = None
        """When to import the next module."""

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Import the module that is due by ``now``, if any."""
        if not self._names or snapshot.stage is not Stage.SERVING:
            self.due = None
        elif self.due is None:
            self.due = now + SETTLED
        elif self.due <= now:
            late.import_next(self._names)
            self.due = now + PAUSE if self._names else None
