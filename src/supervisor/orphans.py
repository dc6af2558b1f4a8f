"""Processes that workers' applications have started, and that outlive their workers.

A pool of processes does not notice that the worker which made it was killed. Its processes wait for work for ever, and every
crash or save adds more. On Linux the kernel gives us processes whose parents are gone (``PR_SET_CHILD_SUBREAPER``, prctl(2)).
Those of a worker that was killed or crashed are told to end (SIGTERM), and are killed after a while. Left alone are:

- a process with a session of its own (setsid(2)): it was meant to outlive its parent, as a daemon is;
- a process whose worker ended in order: the application had its chance to end it (lifespan shutdown, ``atexit``);
- a process that lost its parent while no worker died, or that was our child before we started anything.

All of them are reaped when they end.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Set
from typing import Any

logger = logging.getLogger("tricorn.error")

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2), <linux/prctl.h>."""
GRACE = 3.0
"""Seconds to end by themselves after SIGTERM; less than a finished supervisor waits for its hooks, which run meanwhile."""


def become_subreaper(wanted: bool = True) -> bool:
    """Ask the kernel to make descendants whose parents are gone our children; returns whether it does."""
    if sys.platform != "linux":
        return False
    try:
        # Imported here because it takes longer to import than all of our own modules.
        import ctypes
    except ImportError:
        # A Python that was built without libffi.
        return False
    result: int = ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)
    return result == 0


class Orphans:
    """The children of this process that are neither workers nor auxiliaries; ``known`` are the pids of those two."""

    def __init__(self) -> None:
        self._strangers: set[int] = set()
        """Children that are left alone."""
        self._unclaimed: set[int] = set()
        """Unknown children that the last look found. If the next look finds one again, it is a stranger."""
        self._ending: dict[int, float] = {}
        """Orphans that were told to end, and when they are killed."""
        self._is_subreaper: bool | None = None
        """Whether orphans become our children; None before we ask for it."""

    def state(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {"strangers": [*self._strangers], "ending": [*self._ending.items()], "is_subreaper": self._is_subreaper}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from this :meth:`state`, in the same process: the kernel's mark outlasts execve (prctl(2))."""
        self._strangers, self._ending = set(state["strangers"]), dict(state["ending"])
        self._is_subreaper = state["is_subreaper"]

    def adopt(self, known: Set[int]) -> bool:
        """From now on become the parent of orphans, if the system can. A process that is our child already is no orphan."""
        if self._is_subreaper is None:
            self._strangers = _children() - known
            self._is_subreaper = become_subreaper()
        return self._is_subreaper

    @property
    def is_any_ending(self) -> bool:
        """Whether an orphan that was told to end has not ended."""
        return bool(self._ending)

    def deadlines(self) -> list[float]:
        """When :meth:`attend` has something to do."""
        return list(self._ending.values())

    def look(self) -> set[int]:
        """All our children. Call it before the dead are reaped: orphans of a process that dies later are not among them."""
        return _children() if self._is_subreaper else set()

    def reaped(self, pid: int) -> bool:
        """``pid`` is gone; returns whether it had been told to end. Then its own children must end, too."""
        self._strangers.discard(pid)
        return self._ending.pop(pid, None) is not None

    def leave_alone(self, children: Set[int], known: Set[int]) -> None:
        """No worker was killed or has crashed: those of ``children`` that are not ``known`` are strangers at the second look.

        At the first the worker that they belonged to may be dying: its orphans are ours a moment before it can be reaped.
        """
        unclaimed = children - known - self._ending.keys()
        self._strangers |= unclaimed & self._unclaimed
        self._unclaimed = unclaimed

    def end(self, known: Set[int], now: float) -> None:
        """A worker was killed or has crashed: tell its orphans to end."""
        orphans = self.look() - known - self._strangers - self._ending.keys()
        session = os.getsid(0)
        for pid in orphans:
            # Not reaped, so its pid can't be somebody else's.
            if os.getsid(pid) == session and _signal(pid, signal.SIGTERM):
                self._ending[pid] = now + GRACE
            else:
                self._strangers.add(pid)
        if ended := sorted(orphans & self._ending.keys()):
            noun = "process" if len(ended) == 1 else "processes"
            logger.info("Ending %d %s that a worker has left behind: %s", len(ended), noun, ", ".join(map(str, ended)))

    def attend(self, now: float) -> None:
        """Kill the orphans that have not ended in time."""
        for pid in [pid for pid, until in self._ending.items() if until <= now]:
            _signal(pid, signal.SIGKILL)
            # Reaped when it ends; there is nothing more to wait for.
            del self._ending[pid]
            self._strangers.add(pid)

    def close(self) -> None:
        """Kill all orphans that were told to end, and adopt none any more."""
        for pid in self._ending:
            _signal(pid, signal.SIGKILL)
        self._ending.clear()
        if self._is_subreaper:
            become_subreaper(False)


def _children() -> set[int]:
    """The children of the main thread, which is the only one of a supervisor (proc(5)); none where the kernel does not tell."""
    try:
        with open(f"/proc/self/task/{threading.main_thread().native_id}/children", encoding="ascii") as file:
            return set(map(int, file.read().split()))
    except OSError:
        return set()


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        # It has changed its user.
        return False
    return True
