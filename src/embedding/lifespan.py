"""What ``Config.lifespan_class`` is, with uvicorn's names: an application's lifespan, for programs that make it themselves."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import AppError
from ..worker.lifespan import Lifespan

logger = logging.getLogger("tricorn.error")


class LifespanOn:
    """The lifespan of the application of a ``tricorn.Config``. Its ``state`` is what the application's requests get."""

    def __init__(self, config: Any) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.should_exit = False
        """Whether the application's start-up failed."""
        self._state: dict[str, Any] = {}
        self.inner = Lifespan(config.loaded_app, config.lifespan, self._state)
        """What a worker runs."""

    @property
    def state(self) -> dict[str, Any]:
        return self._state if self.inner.state is None else self.inner.state

    async def startup(self) -> None:
        """Run the application's start-up; sets ``should_exit`` if it fails, and logs why."""
        try:
            await self.inner.startup()
        except AppError as error:
            logger.error("%s", error)
            self.should_exit = True

    async def shutdown(self) -> None:
        """Run the application's shutdown; what goes wrong is logged."""
        await self.inner.shutdown()


class LifespanOff(LifespanOn):
    """The same for ``lifespan="off"``: nothing is run."""
