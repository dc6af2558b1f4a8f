"""What an application may ask of the worker it runs in: ``tricorn.current_worker()``.

It is not in a scope or in the lifespan's state: those hold only what the ASGI specification names and what the application put
there.
"""

from __future__ import annotations


class CurrentWorker:
    """The worker process, or the server in a program's own process, that the caller runs in."""

    __slots__ = ("generation", "is_ready", "pid", "slot")

    def __init__(self, slot: int, pid: int, generation: int = 0) -> None:
        self.slot = slot
        """0..N-1, kept by its successors."""
        self.pid = pid
        self.generation = generation
        """The number of reloads before this worker was started."""
        self.is_ready = True
        """Whether new requests are welcome. False once a stop is announced (``--shutdown-delay``) or a drain begins."""

    def __repr__(self) -> str:
        return f"CurrentWorker(slot={self.slot}, pid={self.pid}, generation={self.generation}, is_ready={self.is_ready})"


_worker: CurrentWorker | None = None


def current_worker() -> CurrentWorker | None:
    """The worker that this process is; None in a process that does not serve.

    A program can start several servers in one process. Then it is the one that was started last.
    """
    return _worker


def enter(worker: CurrentWorker) -> CurrentWorker:
    """Make ``worker`` the one that :func:`current_worker` returns in this process, and return it."""
    global _worker
    _worker = worker
    return worker
