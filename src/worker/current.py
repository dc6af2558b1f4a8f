"""What an application may ask of the worker it runs in: ``tricorn.current_worker()``.

It is not in a scope or in the lifespan's state: those hold only what the ASGI specification names and what the application put
there.
"""

from __future__ import annotations

import asyncio


class CurrentWorker:
    """The worker process, or the server in a program's own process, that the caller runs in."""

    __slots__ = ("_waiting", "generation", "is_draining", "is_ready", "pid", "slot")

    def __init__(self, slot: int, pid: int, generation: int = 0) -> None:
        self.slot = slot
        """0..N-1, kept by its successors."""
        self.pid = pid
        self.generation = generation
        """The number of reloads before this worker was started."""
        self.is_ready = True
        """Whether new requests are welcome. False once a stop is announced (``--shutdown-delay``) or a drain begins."""
        self.is_draining = False
        """Whether the worker leaves, for a stop, a reload or a recycling: what lasts should come to its end."""
        self._waiting: set[asyncio.Future[None]] = set()

    async def draining(self) -> None:
        """Wait until the worker leaves (see :attr:`is_draining`), on whatever event loop; at once if it does already."""
        if self.is_draining:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            if not self.is_draining:
                await future
        finally:
            self._waiting.discard(future)

    def begin_draining(self) -> None:
        """For the server: the worker leaves. May be called again."""
        self.is_ready = False
        self.is_draining = True
        for future in [*self._waiting]:
            try:
                future.get_loop().call_soon_threadsafe(_wake, future)
            except RuntimeError:
                # That loop is closed.
                continue

    def __repr__(self) -> str:
        return f"CurrentWorker(slot={self.slot}, pid={self.pid}, generation={self.generation}, is_ready={self.is_ready})"


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


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
