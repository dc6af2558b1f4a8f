"""ASGI lifespan (specification 2.0): the application's start-up and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from ..errors import AppError
from ..protocols.application import is_torn_down
from ..protocols.asgi import LIFESPAN_VERSIONS, Application, Message, Scope
from .loader import trimmed

logger = logging.getLogger("tricorn.error")


class Lifespan:
    """One application's lifespan: a task of its own that gets ``startup``, then ``shutdown``, and answers each.

    ``mode`` is ``auto``, ``on`` or ``off``, as in ``--lifespan``. With ``auto``, an application that raises at the start is
    served without a lifespan.
    """

    def __init__(self, app: Application, mode: str, state: dict[str, Any] | None = None) -> None:
        self._app = app
        self._mode = mode
        self._initial = {} if state is None else state
        self.state: dict[str, Any] | None = None
        """What the application keeps for its requests; None if it does not speak lifespan."""
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[None] | None = None

    async def startup(self) -> None:
        """Run the application's start-up. Raises :class:`AppError` when it fails."""
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._started, self._stopped = loop.create_future(), loop.create_future()
        self.state = dict(self._initial)
        scope: Scope = {"type": "lifespan", "asgi": dict(LIFESPAN_VERSIONS), "state": self.state}
        self._task = loop.create_task(self._run(scope))
        self._inbox.put_nowait({"type": "lifespan.startup"})
        # Our task may be cancelled while it waits. The application still answers, so the future must stay as it is.
        await asyncio.shield(self._started)

    async def shutdown(self) -> None:
        """Run the application's shutdown. Errors are logged."""
        if self._task is None or self._task.done() or self._stopped is None:
            return
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        await self._stopped

    async def shutdown_within(self, seconds: float) -> None:
        """As :meth:`shutdown`, but wait no longer than so many ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.shutdown()

    def abandon(self) -> None:
        """Cancel the application's task, unless its shutdown is done. No caller will wait for it."""
        if self._task is not None and self._stopped is not None and not self._stopped.done():
            self._task.cancel()
        if self._started is not None:
            # Otherwise asyncio would log that the start-up's exception was never retrieved.
            self._started.cancel()

    async def _run(self, scope: Scope) -> None:
        assert self._started is not None
        try:
            await self._app(scope, self._inbox.get, self._send)
        except BaseException as error:
            if is_torn_down(error):
                raise
            self._failed(error)
        else:
            if not self._started.done():
                self._unsupported("returned at once")
        finally:
            self._finish()

    def _failed(self, error: BaseException) -> None:
        assert self._started is not None
        if self._started.done():
            if not _is_cancelled(error) and not self._started.cancelled() and self._started.exception() is None:
                logger.error("Exception in ASGI lifespan", exc_info=error)
        elif self._mode == "auto" and isinstance(error, Exception):
            if self._inbox.empty() and not isinstance(error, AppError):
                # The application took the message, so it speaks lifespan. Uvicorn goes on all the same, and users rely on that.
                logger.warning("The application's start-up raised %s: %s; going on", type(error).__name__, error)
            # By the specification, an application that does not know the scope raises.
            self._unsupported(f"raised {type(error).__name__}: {error}")
        else:
            failure = AppError(f"application start-up failed\n{trimmed(error)}")
            failure.__context__ = error
            self._started.set_exception(failure)

    def _unsupported(self, how: str) -> None:
        assert self._started is not None
        self.state = None
        if self._mode == "on":
            self._started.set_exception(AppError(f"--lifespan on: the application does not speak lifespan ({how})"))
        else:
            logger.debug("ASGI lifespan not supported by the application, going on without: it %s", how)
            self._started.set_result(None)

    def _finish(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    async def _send(self, message: Message) -> None:
        assert self._started is not None
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self._started.done():
            self._started.set_result(None)
        elif kind == "lifespan.startup.failed" and not self._started.done():
            text = message.get("message", "")
            self._started.set_exception(AppError(f"application start-up failed{': ' if text else ''}{text}"))
        elif kind == "lifespan.shutdown.complete":
            self._finish()
        elif kind == "lifespan.shutdown.failed":
            logger.error("Application shutdown failed: %s", message.get("message", ""))
            self._finish()
        else:
            raise AppError(f"ASGI message {kind!r} at the wrong time of the lifespan")


def _is_cancelled(error: BaseException) -> bool:
    """Whether ``error`` is a cancellation of the current task, and not one that the application raised by itself."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
