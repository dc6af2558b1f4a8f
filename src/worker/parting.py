"""``--drain-over``: ends what would last for ever, spread over a time, so that its clients do not all connect again at once."""

from __future__ import annotations

import random

from ..protocols.context import Connection, Service

STEP = 0.02
"""Seconds between two turns, at least: with thousands of connections several end in one."""
LOOK = 0.5
"""Seconds between two looks for what has begun since, on connections that stay for their next request."""


class Parting:
    """Ends the WebSockets and event streams of a worker that drains, each at its own moment of the given time.

    The moments are drawn at random, one from each of as many equal parts of the time as there are connections. So they are
    evenly spread, and several workers that drain together do not fall into step.
    """

    def __init__(self, service: Service, seconds: float) -> None:
        """Begins at once, on the service's event loop."""
        self._service = service
        self._loop = service.loop
        self._end = self._loop.time() + seconds
        self._moments: dict[Connection, float] = {}
        self._plan()
        self._timer = self._loop.call_later(0, self._turn)

    @property
    def is_over(self) -> bool:
        """Whether all that lasted when it began has ended."""
        return self._loop.time() >= self._end

    def hasten(self, seconds: float) -> None:
        """End within so many seconds, unless that is so already."""
        now = self._loop.time()
        before, after = self._end - now, seconds
        if after < before:
            self._end = now + after
            self._moments = {one: now + (at - now) * after / before for one, at in self._moments.items()}
            self._wait(now)

    def stop(self) -> None:
        """Leave nothing on the event loop."""
        self._timer.cancel()

    def _plan(self) -> None:
        """Draw a moment for each connection that lasts and has none."""
        now = self._loop.time()
        new = [one for one in self._service.connections if one not in self._moments and one.lasts()]
        random.shuffle(new)
        left = max(0.0, self._end - now)
        for index, one in enumerate(new):
            self._moments[one] = now + left * (index + random.random()) / len(new)

    def _turn(self) -> None:
        now = self._loop.time()
        for one in [one for one, at in self._moments.items() if at <= now]:
            del self._moments[one]
            if one in self._service.connections:
                one.part()
        self._plan()
        self._wait(now)

    def _wait(self, now: float) -> None:
        first = min(self._moments.values(), default=now + LOOK)
        self._timer.cancel()
        self._timer = self._loop.call_at(max(now + STEP, min(first, now + LOOK)), self._turn)
