"""Samples of a stalled worker: what it writes down when the supervisor asks by a signal, and how that is read.

A handler in Python writes the stack, and which request it is. It runs between two byte codes of the main thread: during the
stall or, if the stall is one call into C, right after it. If there is no answer, the main thread is in such a call, and a
second signal lets faulthandler write the stack from C. It must not come first. While Python code runs, a frame may be half made
when the signal comes, and faulthandler then crashes the process: about once in 500 samples, with 3.11, 3.12 and 3.13.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ..ipc.text import one_line
from ..ipc.waits import name_request
from ..protocols.application import converse
from .loader import is_ours
from .places import name_place

SAMPLE_SIGNAL: int | None = signal.SIGRTMIN + 1 if hasattr(signal, "SIGRTMIN") else None
"""Makes a worker write its main thread's stack to ``Birth.stalls``; None where there are no real-time signals."""
STACK_SIGNAL: int | None = signal.SIGRTMIN + 2 if hasattr(signal, "SIGRTMIN") else None
"""The same, at once; only for a worker that does not answer the first one."""
MAX_WRITTEN = 100
"""Frames that are written; faulthandler writes as many."""
MAX_NAME = 500
"""Characters of the name of a file or function that are written; the same."""
MAX_LINE = 1000
"""Characters of a line that may be a frame: twice as many as faulthandler writes of the two names in it."""
MAX_FRAMES = 1000
"""Frames that are looked through for the request: Python's own limit of recursion, by default."""
MAX_PLACE = 200
"""Characters of a place that are logged."""
REQUEST = "Request: "
_STACK = "Stack (most recent call first):\n"
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_BOTTOM = "/worker/endure.py"
"""Runs the event loop: what is below it on the stack is how the worker came to live."""
_IMPORT = ("<frozen importlib", "/importlib/")
"""Parts of the names of the import system's files."""
_LOOP = ("/asyncio/", "/selectors.py")
"""Parts of the names of the event loop's own files."""


def prepare(fd: int) -> None:
    """Write samples to ``fd`` from now on, whenever the supervisor asks."""
    if SAMPLE_SIGNAL is None or STACK_SIGNAL is None or fd < 0:
        return
    signal.signal(SAMPLE_SIGNAL, lambda number, frame: _write_sample(fd, frame))
    # Only of the main thread: to look at the stacks of others, while they run, is not safe.
    faulthandler.register(STACK_SIGNAL, file=fd, all_threads=False)


def give_up() -> None:
    """In a process that the application has forked: there is no supervisor that asks."""
    if SAMPLE_SIGNAL is not None and STACK_SIGNAL is not None:
        signal.signal(SAMPLE_SIGNAL, signal.SIG_DFL)
        faulthandler.unregister(STACK_SIGNAL)


def _write_sample(fd: int, frame: FrameType | None) -> None:
    # Whatever fails here must not fail in the application's code.
    with contextlib.suppress(Exception):
        os.write(fd, "".join([_STACK, *_lines(frame)]).encode("utf-8", "backslashreplace"))
        if name := _request_of(frame):
            os.write(fd, f"{REQUEST}{name}\n".encode("utf-8", "backslashreplace"))


def _lines(frame: FrameType | None) -> Iterator[str]:
    """The stack of ``frame`` as faulthandler writes it."""
    for _ in range(MAX_WRITTEN):
        if frame is None:
            break
        code = frame.f_code
        yield f'  File "{code.co_filename[:MAX_NAME]}", line {frame.f_lineno or 0} in {code.co_name[:MAX_NAME]}\n'
        frame = frame.f_back


def _request_of(frame: FrameType | None) -> str:
    """The request or WebSocket that the code of ``frame`` works for; empty if it can't be told."""
    scope: Any = None
    for _ in range(MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code is converse.__code__:
            return name_request(frame.f_locals["conversation"].describe())
        if "scope" in frame.f_code.co_varnames and not is_ours(frame.f_code.co_filename):
            # Frameworks run handlers in tasks of their own, whose stacks do not reach down to ours.
            scope = frame.f_locals.get("scope", scope)
        frame = frame.f_back
    if isinstance(scope, dict) and isinstance(path := scope.get("path"), str):
        return name_request(f"{scope.get('method', 'WebSocket')} {path}")
    return ""


def read_samples(text: str) -> tuple[list[str], str]:
    """What a worker has written, which may be anything: where it was each time, as ``FILE:LINE FUNCTION``, and the request.

    A place is empty if its event loop turned by then.
    """
    request = ""
    for line in text.splitlines():
        if line.startswith(REQUEST):
            request = name_request(line.removeprefix(REQUEST))
    return [one_line(_place(stack), MAX_PLACE) for stack in text.split(_STACK)[1:]], request


def _place(stack: str) -> str:
    frames = list(_frames(stack))
    bottom = next((index for index, (file, _, _) in enumerate(frames) if file.endswith(_BOTTOM) and is_ours(file)), len(frames))
    del frames[bottom:]
    # From the outermost on: the event loop's code, and ours between it and the application. If that is all, the loop turns.
    while frames and (is_ours(frames[-1][0]) or any(part in frames[-1][0] for part in _LOOP)):
        frames.pop()
    if frames and any(part in frames[-1][0] for part in _IMPORT):
        # We import what is needed only now: the application has no part in that.
        return ""
    return name_place(frames[::-1])


def _frames(stack: str) -> Iterator[tuple[str, int, str]]:
    """File, line and function of each frame, inner ones first."""
    for line in stack.splitlines():
        if len(line) <= MAX_LINE and (found := _FRAME.match(line)) is not None:
            yield found[1], int(found[2]), found[3]
