"""What an application sends to a client that has left."""

from __future__ import annotations

import asyncio

from .asgi import ClientDisconnected

_PROMPT = 500
"""Messages that are dropped as quickly as the event loop turns, some 10 ms of work."""
_PAUSE = 0.01
"""Seconds between two later ones: an application that sends on for seconds must not keep a processor busy."""


class Drops:
    """The messages of one exchange that reach no client: dropped for a time, and refused then.

    Dropping is what an application of ``spec_version`` 2.3 may rely on: what it does behind its response still happens. With
    each message the event loop turns, so that a task that listens for the client's leaving can break off. A sender that goes on
    for longer does not listen, and may never end."""

    __slots__ = ("_count", "_until")

    def __init__(self, until: float) -> None:
        """``until``: when the time is over, as of ``Service.now``."""
        self._until = until
        self._count = 0

    async def drop(self, now: float) -> None:
        """Drop one message at ``now``. Raises ClientDisconnected when the time is over."""
        if now >= self._until:
            raise ClientDisconnected("the client has disconnected")
        self._count += 1
        await asyncio.sleep(0 if self._count <= _PROMPT else _PAUSE)
