"""Where code is: the frames that a suspended task waits in, and one of them in words."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections.abc import Sequence
from types import AsyncGeneratorType, FrameType
from typing import Any

from .loader import is_ours

MAX_TASKS = 1000
"""Tasks that are looked at: some 20 ms, in which the event loop does not turn."""
MAX_OUTER = 8
"""Outermost frames of a task in which scope and send are looked for: what works for a request has them near its beginning."""


def waiting_frames(awaited: Any) -> list[FrameType]:
    """The frames of a coroutine and of all that it awaits down to the one that waits, without Tricorn's.

    ``Task.print_stack`` shows only the outermost frame of a suspended coroutine, which is never the one that waits.
    """
    frames: list[FrameType] = []
    while awaited is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            awaited = _generator_behind(awaited)
            continue
        frame: FrameType | None = getattr(awaited, f"{kind}_frame")
        if frame is not None and not is_ours(frame.f_code.co_filename):
            frames.append(frame)
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return frames


def _generator_behind(awaited: Any) -> Any:
    """The asynchronous generator whose next value ``async for`` awaits; None if ``awaited`` is something else.

    Python has no attribute that leads there. A handler that streams waits in one.
    """
    if not type(awaited).__name__.startswith("async_generator_"):
        return None
    return next((one for one in gc.get_referents(awaited) if isinstance(one, AsyncGeneratorType)), None)


def place_of(task: asyncio.Task[Any]) -> str:
    """Where a suspended task waits, as ``FILE:LINE FUNCTION``; empty if it has not begun, or waits in Tricorn."""
    return _name_frames(waiting_frames(task.get_coro()))


def place_of_handler(task: asyncio.Task[Any], scope: Any) -> str:
    """As :func:`place_of`, but where the handler of the request with this ``scope`` waits.

    Frameworks run handlers in tasks of their own, for a middleware or a stream. Such a task has the scope among its variables,
    or the function ``send`` of a frame that has it. Of several tasks, one with the application's own code is taken, and of
    those the deepest.
    """
    # Late, because few workers ever name a place.
    from .modules import is_developers

    own = waiting_frames(task.get_coro())
    tasks = itertools.islice(asyncio.all_tasks(task.get_loop()), MAX_TASKS)
    found = [(frames, _asgi_variables(frames[:MAX_OUTER])) for frames in (waiting_frames(one.get_coro()) for one in tasks)]
    its = [own, *(frames for frames, pairs in found if any(one is scope for one, _ in pairs))]
    senders = {id(send) for frames in its for one, send in _asgi_variables(frames) if one is scope and send is not None}
    its += [frames for frames, pairs in found if any(id(send) in senders for _, send in pairs)]
    return _name_frames(max(its, key=lambda it: (any(is_developers(frame.f_code.co_filename) for frame in it), len(it))))


def _asgi_variables(frames: Sequence[FrameType]) -> list[tuple[Any, Any]]:
    """``scope`` and ``send`` of each of the ``frames`` that has one of them."""
    pairs = []
    for frame in frames:
        names = (*frame.f_code.co_varnames, *frame.f_code.co_freevars)
        if "scope" in names or "send" in names:
            # Python makes them anew each time.
            variables = frame.f_locals
            pairs.append((variables.get("scope"), variables.get("send")))
    return pairs


def _name_frames(frames: Sequence[FrameType]) -> str:
    return name_place([(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) for frame in frames])


def name_place(frames: Sequence[tuple[str, int, str]]) -> str:
    """The innermost of ``frames`` (file, line, function; outer ones first) that is the application's own, in words.

    If all belong to Python or to installed packages, it is the innermost one. Empty if there are none.
    """
    # Late, because few workers ever name a place.
    from .modules import is_developers

    if not frames:
        return ""
    file, line, function = next((frame for frame in reversed(frames) if is_developers(frame[0])), frames[-1])
    return f"{file.removeprefix(_here())}:{line} {function}"


def _here() -> str:
    try:
        return os.getcwd() + "/"
    except OSError:
        # A deploy has deleted the directory.
        return ""
