"""Reads, once the fleet has settled, the modules that workers may need later, and imports those that the supervisor may need.

The installed packages may be replaced or deleted under a running server, and all workers of one server must have one version of
them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec

from ..config.options import Config
from ..worker import kept
from ..worker.kept import KeptModules
from .phases import Stage
from .snapshot import Snapshot

logger = logging.getLogger("tricorn.error")

SETTLED = 5.0
"""Seconds from the first ready worker until this begins: it must not slow down the first starts."""
PAUSE = 0.02
"""Seconds between two modules. Each takes 20 ms at most, and a signal must be answered within 100 ms."""


class Provision:
    """An observer that takes one module at a time while the fleet serves."""

    def __init__(self, config: Config, modules: KeptModules, own: Sequence[str]) -> None:
        """``modules`` is filled for the workers; ``own`` names modules that the supervisor itself may need."""
        self._modules = modules
        self._codes: dict[str, tuple[ModuleSpec, bytes]] = {}
        self._steps: Iterator[None] | None = self._provide([*own], kept.names(config))
        self.due: float | None = None
        """When to take the next module."""

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Take the module that is due by ``now``, if any."""
        if self._steps is None or snapshot.stage is not Stage.SERVING:
            self.due = None
        elif self.due is None:
            self.due = now + SETTLED
        elif self.due <= now:
            self.due = now + PAUSE
            if next(self._steps, self) is self:
                self._steps = self.due = None

    def _provide(self, own: Sequence[str], names: Sequence[str]) -> Iterator[None]:
        """All of it, in steps."""
        for name in own:
            kept.import_now(name)
            yield
        for name in names:
            try:
                for spec, code in kept.read(name):
                    # A module may be named beside its package.
                    self._codes[spec.name] = spec, code
                    yield
            except Exception as error:
                logger.debug("Reading %s fails: %s: %s", name, type(error).__name__, error)
        try:
            self._modules.fill([*self._codes.values()])
        except ValueError as error:
            logger.debug("Modules are not kept: %s", error)
        self._codes.clear()
        logger.debug("Holds all modules that requests may need")
