"""Where code is: the frames that a suspended task waits in, and one of them in words."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from types import FrameType
from typing import Any

from .loader import is_ours

MAX_TASKS = 2000
"""Tasks that are looked at: some 20 ms, in which the event loop does not turn."""


def waiting_frames(awaited: Any) -> list[FrameType]:
    """The frames of a coroutine and of all that it awaits down to the one that waits, without Tricorn's.

    ``Task.print_stack`` shows only the outermost frame of a suspended coroutine, which is never the one that waits.
    """
    frames: list[FrameType] = []
    while awaited is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            break
        frame: FrameType | None = getattr(awaited, f"{kind}_frame")
        if frame is not None and not is_ours(frame.f_code.co_filename):
            frames.append(frame)
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return frames


def place_of(task: asyncio.Task[Any]) -> str:
    """Where a suspended task waits, as ``FILE:LINE FUNCTION``; empty if it has not begun, or waits in Tricorn."""
    return _name_frames(waiting_frames(task.get_coro()))


def place_of_handler(task: asyncio.Task[Any], scope: Any) -> str:
    """As :func:`place_of`, but where the handler of the request with this ``scope`` waits.

    Frameworks run handlers in tasks of their own, for a middleware or a stream. Such a task has the scope among its variables.
    """
    best = waiting_frames(task.get_coro())
    for other in itertools.islice(asyncio.all_tasks(task.get_loop()), MAX_TASKS):
        frames = waiting_frames(other.get_coro()) if other is not task else []
        if len(frames) > len(best) and any(_variable(frame, "scope") is scope for frame in frames):
            best = frames
    return _name_frames(best)


def _variable(frame: FrameType, name: str) -> Any:
    code = frame.f_code
    return frame.f_locals.get(name) if name in code.co_varnames or name in code.co_freevars else None


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
