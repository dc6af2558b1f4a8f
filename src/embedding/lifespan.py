"""The classes of ``Config.lifespan_class``, with uvicorn's names: for programs that run a lifespan themselves."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import AppError
from ..worker.lifespan import Lifespan

logger = logging.getLogger("tricorn.error")


class LifespanOn:
    """The lifespan of the application of a ``tricorn.Config``. Requests get its ``state``."""

    def __init__(self, config: Any) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.should_exit = False
        """Whether the application's start-up has failed."""
        self._state: dict[str, Any] = {}
        self.inner = Lifespan(config.loaded_app, config.lifespan, self._state)
        """The lifespan that a worker runs."""

    @property
    def state(self) -> dict[str, Any]:
        """The lifespan state, which every request gets a copy of (ASGI's lifespan specification)."""
        return self._state if self.inner.state is None else self.inner.state

    async def startup(self) -> None:
        """Run the application's start-up; sets ``should_exit`` if it fails, and logs why."""
        try:
            await self.inner.startup()
        except AppError as error:
            logger.error("%s", error)
            self.should_exit = True

    async def shutdown(self) -> None:
        """Run the application's shutdown; logs what goes wrong."""
        await self.inner.shutdown()


class LifespanOff(LifespanOn):
    """The same for ``lifespan="off"``: the application gets no events."""
