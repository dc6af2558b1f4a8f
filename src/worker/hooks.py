"""``--hooks``: imports the operator's functions, and calls those that concern one worker."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from ..config.options import Config
from ..errors import AppError
from ..hooks import (
    HOOKS,
    ON_TEMPLATE_LOADED,
    ON_WORKER_FORKED,
    ON_WORKER_READY,
    ON_WORKER_START,
    ON_WORKER_STOP,
    Worker,
)
from .loader import locate, trimmed

logger = logging.getLogger("tricorn.error")

Function = Callable[[Any], Any]

BEFORE_LOOP = (ON_TEMPLATE_LOADED, ON_WORKER_FORKED, ON_WORKER_START)
"""Hooks that are called where there is no event loop."""


def load(config: Config) -> dict[str, Function]:
    """The functions that ``--hooks`` names, by hook. Raises AppError that names the option, its value and the cause.

    A class is made an instance of once in a process and its forks.
    """
    return _load(config.hooks or "", config.app_dir)


@cache
def _load(name: str, app_dir: str) -> dict[str, Function]:
    found = locate(name, app_dir, "--hooks")
    try:
        if inspect.isclass(found):
            found = found()
        functions = {hook: getattr(found, hook) for hook in dir(found) if hook.startswith("on_")}
    except (Exception, SystemExit) as error:
        what = "an object of this class can't be made" if inspect.isclass(found) else "its hooks can't be looked up"
        raise AppError(f"--hooks {name}: {what}\n{trimmed(error)}") from None
    if not functions:
        raise AppError(f"--hooks {name}: has no hook; there are {', '.join(HOOKS)}")
    for hook, function in functions.items():
        if (cause := _fault_of(hook, function)) is not None:
            raise AppError(f"--hooks {name}: {cause}")
    return functions


def _fault_of(hook: str, function: Any) -> str | None:
    """What is wrong with ``function`` as this hook; None if nothing is."""
    if hook not in HOOKS:
        close = difflib.get_close_matches(hook, HOOKS, 1)
        return f"{hook} is no hook; {f'did you mean {close[0]}?' if close else 'there are ' + ', '.join(HOOKS)}"
    if not callable(function):
        return f"{hook} is not callable"
    if hook in BEFORE_LOOP and inspect.iscoroutinefunction(function):
        return f"{hook} must not be async: it is called before there is an event loop"
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return f"{hook} must take one argument, a tricorn.hooks.{HOOKS[hook].__name__}"
    except ValueError:
        # A compiled function: its arguments are not known.
        return None
    return None


def tell_failure(name: str | None, hook: str, error: BaseException) -> None:
    """Log that a hook raised. That stops nothing."""
    logger.error("--hooks %s: %s failed\n%s", name, hook, trimmed(error))


class WorkerHooks:
    """One worker's own hooks. If ``on_worker_start`` raises, the worker fails to start; errors of other hooks are logged."""

    def __init__(self, config: Config, worker: Worker) -> None:
        """Import the hooks. Raises AppError."""
        self._functions = load(config)
        self._name = config.hooks
        self._worker = worker
        self._ready: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Call ``on_worker_start``, before the application is imported. Raises AppError."""
        function = self._functions.get(ON_WORKER_START)
        if function is not None:
            try:
                function(self._worker)
            except (Exception, SystemExit) as error:
                raise AppError(f"--hooks {self._name}: {ON_WORKER_START} failed\n{trimmed(error)}") from None

    def ready(self) -> None:
        """Call ``on_worker_ready`` on the event loop, and do not wait for it. Connections are accepted by now."""
        self._ready = asyncio.get_running_loop().create_task(self._call(ON_WORKER_READY))

    async def stop(self) -> None:
        """Call ``on_worker_stop`` on the event loop, and wait for it. The application was shut down before."""
        await self._call(ON_WORKER_STOP)

    async def _call(self, hook: str) -> None:
        function = self._functions.get(hook)
        if function is None:
            return
        try:
            value = function(self._worker)
            if inspect.isawaitable(value):
                await value
        except (Exception, SystemExit) as error:
            tell_failure(self._name, hook, error)
