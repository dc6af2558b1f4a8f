"""Keep the event loop running when a task of the application ends with SystemExit or KeyboardInterrupt."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
    """Run ``main`` to its end on a loop of its own, as :class:`asyncio.Runner` does, even if another task asks for an exit.

    When a task ends with SystemExit or KeyboardInterrupt, the task that awaits it gets the exception, and the event loop raises
    it out of ``run_forever`` as well. Frameworks run handlers in such tasks (a middleware's task group, a stream). The request
    already gets the exception, so here the loop only has to go on. If no task awaits it, asyncio logs the exception.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                if task.done() or not _comes_from_a_task(error):
                    raise


def _comes_from_a_task(error: BaseException) -> bool:
    """Whether a coroutine raised ``error``. If not, a callback or a signal handler did, and means the whole process."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_flags & inspect.CO_COROUTINE:
            return True
        trace = trace.tb_next
    return False
