"""What a hung worker says of itself, when its interpreter still runs: the requests in flight and the asyncio tasks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import traceback
from types import FrameType
from typing import Any, Protocol

from ..protocols.context import Service

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Subject(Protocol):
    service: Service


subject: Subject | None = None
"""The server of this process."""


def write(fd: int) -> None:
    """Write requests and tasks to ``fd``. Called from a signal handler, between any two byte codes of the main thread."""
    text = io.StringIO()
    service = getattr(subject, "service", None)
    for work in list(service.in_flight) if service is not None else ():
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
        # The file holds so much and no more.
        os.write(fd, text.getvalue().encode("utf-8", "backslashreplace"))


def _frames(awaited: Any) -> list[traceback.FrameSummary]:
    """Where a coroutine waits, down through all that it awaits, less Tricorn's own frames.

    ``Task.print_stack`` shows only the outermost frame of a suspended coroutine, which is never the one that waits.
    """
    frames: list[traceback.FrameSummary] = []
    while awaited is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            break
        frame: FrameType | None = getattr(awaited, f"{kind}_frame")
        if frame is not None and not frame.f_code.co_filename.startswith(_OURS):
            frames += traceback.extract_stack(frame, limit=1)
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return frames
