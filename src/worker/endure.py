"""Run the event loop past what an application's tasks throw at it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
    """Run ``main`` to its end on a loop of its own, as :class:`asyncio.Runner` does, and longer than another task's exit.

    A task that ends with SystemExit or KeyboardInterrupt hands it to whoever awaits the task, and then event loops raise it
    out of ``run_forever`` as well. Frameworks run handlers in such tasks (a middleware's task group, a stream): the request
    gets the exception by awaiting, so here the loop only has to go on. If nobody awaits the task, asyncio logs it.
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
    """Whether a coroutine raised ``error``; else it came from a callback or a signal's handler, and means the process."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_flags & inspect.CO_COROUTINE:
            return True
        trace = trace.tb_next
    return False
