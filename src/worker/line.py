"""Which worker the kernel wakes for a new connection: one that sleeps, in turn.

Event loops let the kernel wake all workers that watch a listener, and all but one find nothing. With many workers that costs
more than the connection. Linux can wake one alone (EPOLLEXCLUSIVE, epoll_ctl(2)): of those that sleep, the one that has watched
for the longest. So a worker that ceases to watch and begins again is the last in line. A worker that is busy is passed over.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors

REPLACED_WITHIN = 0.001
"""Seconds until the next try to replace the event loop's entry, which it makes before it sleeps."""
_EXCLUSIVE: int = getattr(select, "EPOLLEXCLUSIVE", 0)


class Line:
    """One worker's place in the line for one listener. Made when the event loop has been told to watch the listener.

    The event loop's entry in its epoll is replaced by one of our own; the event loop does not notice.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, epoll: int, *, is_wanted: bool = True) -> None:
        """``descriptor`` is the listener's, ``epoll`` the event loop's (see :func:`epoll_of`). ``is_wanted``: stand in line at
        once, and not only when :meth:`want` says so."""
        self._loop = loop
        self._descriptor = descriptor
        # An object of its own would close the descriptor, which is the event loop's.
        self._epoll = select.epoll.fromfd(os.dup(epoll))
        self._is_wanted = is_wanted
        self._stands = False
        """We watch, by an entry of our own."""
        self._is_ours = False
        """The event loop's entry is gone."""
        self._timer: asyncio.TimerHandle | None = None
        self._replace()

    def want(self, is_wanted: bool) -> None:
        """Stand in line from now on, or never."""
        self._is_wanted = is_wanted
        if is_wanted and self._is_ours and not self._stands:
            self._stand()
        elif not is_wanted and self._stands:
            self._epoll.unregister(self._descriptor)
            self._stands = False

    def leave(self, seconds: float) -> None:
        """Watch no more; stand at the end of the line again in so many seconds."""
        if self._stands:
            self._epoll.unregister(self._descriptor)
            self._stands = False
            self._timer = self._loop.call_later(seconds, self._stand)

    def step_back(self) -> None:
        """Go to the end of the line."""
        if self._stands:
            self._epoll.unregister(self._descriptor)
            self._stands = False
            self._stand()

    def close(self) -> None:
        """Forget the listener. The event loop's entry, if it is still there, is the event loop's to remove."""
        if self._timer is not None:
            self._timer.cancel()
        self._stands = self._is_wanted = False
        self._epoll.close()

    def _stand(self) -> None:
        if self._is_wanted and not self._stands:
            self._epoll.register(self._descriptor, select.EPOLLIN | _EXCLUSIVE)
            self._stands = True

    def _replace(self) -> None:
        try:
            self._epoll.unregister(self._descriptor)
        except FileNotFoundError:
            self._timer = self._loop.call_later(REPLACED_WITHIN, self._replace)
        else:
            self._is_ours = True
            self._stand()


def epoll_of(loop: asyncio.AbstractEventLoop) -> int | None:
    """The descriptor of the epoll in which ``loop`` waits; None if it has none, or none that we can find."""
    if not _EXCLUSIVE:
        return None
    selector = getattr(loop, "_selector", None)
    if isinstance(selector, selectors.EpollSelector):
        return selector.fileno()
    # uvloop's.
    backend = getattr(loop, "_get_backend_id", None)
    return int(backend()) if backend is not None else None
