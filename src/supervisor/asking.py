"""Asks a template for a worker. The supervisor waits for the answer, a second at most, as it waits for ``fork``."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..ipc.channel import Message, Violation, encode
from ..worker.forking import FORK, FORKED
from .link import Link

PATIENCE = 1.0
"""Seconds in which a template must have forked. It takes some milliseconds."""


def ask_for_worker(
    link: Link, birth: dict[str, Any], descriptors: Sequence[int], hear: Callable[[Message], bool]
) -> int | None:
    """Let the template at the other end of ``link`` fork a worker; returns its pid.

    ``hear`` gets what else the template says; None is returned when it returns True: the template refuses. Raises OSError if
    the template does not answer in time, or is gone.
    """
    deadline = time.monotonic() + PATIENCE
    answer = select.poll()
    answer.register(link.channel, select.POLLIN)
    if not link.send_fds(encode(FORK, birth=birth), descriptors):
        raise TimeoutError("the template does not read")
    while True:
        if not answer.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError("the template does not answer")
        try:
            messages = link.read(time.monotonic())
        except Violation as violation:
            raise ConnectionError(f"the template wrote {violation}") from None
        if link.is_over:
            raise ConnectionError("the template is gone")
        for message in messages:
            if message["kind"] == FORKED:
                return _child(message["pid"], deadline)
            if hear(message):
                return None


def _child(pid: int, deadline: float) -> int:
    """``pid``, once it is our child: when the process between has exited. Raises OSError if it is not by ``deadline``."""
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return pid
        time.sleep(0.001)
    raise ConnectionError("the template named a process that is not ours")
