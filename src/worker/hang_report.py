"""What a hung worker reports while its interpreter still runs: the requests in flight and the asyncio tasks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import traceback

from ..protocols.context import Service
from .places import waiting_frames

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
        if frames := waiting_frames(task.get_coro()):
            print(f"Task {task.get_name()!r}, most recent call last:", file=text)
            for frame in frames:
                text.writelines(traceback.format_list(traceback.extract_stack(frame, limit=1)))
    with contextlib.suppress(OSError):
        # The file has a fixed size; what does not fit is lost.
        os.write(fd, text.getvalue().encode("utf-8", "backslashreplace"))
