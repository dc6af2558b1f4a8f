"""What a worker says of itself: the requests in flight, its threads and its asyncio tasks.

A worker whose event loop turns writes it when it is asked (:func:`answer`). One that hangs is made to write it by a signal, as
long as its interpreter still runs (:func:`write`).
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from ..ipc.report import LOOP_TURNS, MAX_LISTED, InFlight, write_request
from ..protocols.context import Service, Work
from .places import waiting_frames

MAX_TASKS = 2000
"""Tasks that are looked at: some 20 ms, in which the event loop does not turn."""

Place = tuple[FrameType, int]
"""A frame, and the line that it is at."""

_service: Service | None = None


def watch(service: Service) -> None:
    """Let reports of this process say what ``service`` has in flight."""
    global _service
    _service = service


def is_watching() -> bool:
    """Whether this process serves already, and so reads orders."""
    return _service is not None


def write(fd: int) -> None:
    """Write requests and tasks to ``fd``. A signal handler calls it, between any two byte codes of the main thread.

    faulthandler has written the threads before.
    """
    _write(fd, [*_requests(), *_tasks()])


def answer(fd: int, stacks: bool) -> None:
    """In a callback of the event loop: write the requests to ``fd``, and with ``stacks`` the threads and tasks, too."""
    lines = [LOOP_TURNS, *_requests()]
    if stacks:
        lines += [*_threads(), *_tasks()]
    _write(fd, lines)


def _write(fd: int, lines: Iterable[str]) -> None:
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    with contextlib.suppress(OSError):
        # The file has a fixed size; what does not fit is lost.
        os.write(fd, text.encode("utf-8", "backslashreplace"))


def _requests() -> Iterator[str]:
    if _service is None:
        return
    now = _service.loop.time()
    for work in heapq.nsmallest(MAX_LISTED, list(_service.in_flight), key=_since):
        method, _, target = work.describe().partition(" ")
        yield write_request(InFlight(method, target, work.client, max(0.0, now - work.since)))


def _since(work: Work) -> float:
    return work.since


def _threads() -> Iterator[str]:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread is threading.main_thread():
            yield f"Thread {thread.name!r} runs the event loop."
        elif thread.ident in frames:
            yield f"Thread {thread.name!r}, most recent call last:"
            yield from traceback.format_stack(frames[thread.ident])


def _tasks() -> Iterator[str]:
    """Each place where tasks wait, with the tasks that wait there."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        # No event loop runs: the worker imports its application, or exits.
        return
    groups: dict[tuple[Any, ...], tuple[list[Place], list[str]]] = {}
    for task in list(tasks)[:MAX_TASKS]:
        if places := [(frame, frame.f_lineno) for frame in waiting_frames(task.get_coro())]:
            key = tuple((frame.f_code, line) for frame, line in places)
            groups.setdefault(key, (places, []))[1].append(task.get_name())
    for places, names in groups.values():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"Task {names[0]!r}{more}, most recent call last:"
        # Source lines are looked up here, once for each group.
        yield from traceback.StackSummary.extract(places).format()
    if len(tasks) > MAX_TASKS:
        yield f"{len(tasks) - MAX_TASKS} more tasks are not shown."
