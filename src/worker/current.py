"""What an application may ask of the worker it runs in: ``tricorn.current_worker()``.

It is no part of a scope or of the lifespan's state: those hold what the ASGI specification says and what the application put
there, and nothing else.
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
        """How many reloads there were before it was born."""
        self.is_ready = True
        """Whether new requests are welcome: false as soon as a stop was announced (``--shutdown-delay``) or a drain began."""

    def __repr__(self) -> str:
        return f"CurrentWorker(slot={self.slot}, pid={self.pid}, generation={self.generation}, is_ready={self.is_ready})"


_worker: CurrentWorker | None = None


def current_worker() -> CurrentWorker | None:
    """The worker that this process is; None in a process that does not serve, such as one that imports the application alone.

    In a program that serves several times in one process, it is what was started last.
    """
    return _worker


def enter(worker: CurrentWorker) -> CurrentWorker:
    """Let ``worker`` be what :func:`current_worker` returns in this process; returns it."""
    global _worker
    _worker = worker
    return worker
