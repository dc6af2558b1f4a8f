"""What a hung worker reports while its interpreter still runs: the requests in flight and the asyncio tasks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import traceback
from types import FrameType
from typing import Any

from ..protocols.context import Service
from .loader import is_ours

_service: Service | None = None


def watch(service: Service) -> None:
    """Let reports of this process say what ``service`` has in flight."""
    global _service
    _service = service


def is_watching() -> bool:
    """Whether this process has come so far as to serve."""
    return _service is not None


def write(fd: int) -> None:
    """Write requests and tasks to ``fd``. A signal handler calls it, between any two byte codes of the main thread."""
    text = io.StringIO()
    for work in list(_service.in_flight) if _service is not None else ():
        print(f"Request in flight: {work.describe()}", file=text)
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        # No event loop runs: the worker imports its application, or exits.
        tasks = set()
    for task in tasks:
        frames = _frames(task.get_coro())
        if frames:
            print(f"Task {task.get_name()!r}, most recent call last:", file=text)
            text.writelines(traceback.format_list(frames))
    with contextlib.suppress(OSError):
        # The file has a fixed size; what does not fit is lost.
        os.write(fd, text.getvalue().encode("utf-8", "backslashreplace"))


def _frames(awaited: Any) -> list[traceback.FrameSummary]:
    """The frames of a coroutine and of all that it awaits, down to the one that waits, without Tricorn's own.

    ``Task.print_stack`` shows only the outermost frame of a suspended coroutine, which is never the one that waits.
    """
    frames: list[traceback.FrameSummary] = []
    while awaited is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            break
        frame: FrameType | None = getattr(awaited, f"{kind}_frame")
        if frame is not None and not is_ours(frame.f_code.co_filename):
            frames += traceback.extract_stack(frame, limit=1)
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return frames
