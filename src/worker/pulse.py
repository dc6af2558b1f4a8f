"""Several times a second while requests are in flight: beats for ``--report-stalls``, and ``--timeout-request``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from ..config.options import Config
from ..ipc.scoreboard import ACTIVE_PERIOD, Field, Row
from ..protocols.context import Service
from .owner import Owner
from .timeouts import Timeouts

PARTS = 4
"""Beats within ``--report-stalls``, so that a stall of that length is seen."""
LONGEST_TIMEOUT_PERIOD = 0.25
"""Seconds between beats, at most, if only ``--timeout-request`` needs them: a time-out need not be more exact."""
SHORTEST_PERIOD = 0.01
"""Seconds between beats, at least: whatever the options say, this is no load."""
REST = 2.0
"""Seconds without a request after which there are no more beats. A worker that is asked now and then, say ten times a second,
does not stop and begin each time: that costs a message to the supervisor."""


class Pulse:
    """A timer that runs while requests are in flight, and a little longer. An idle worker has none.

    It costs a request nothing: when it stops, it puts itself in the place of ``Service.make_task``, which starts each request's
    task; the first request wakes it. Its turns renew ``Service.now``, so what is measured by that is as exact as its period.
    """

    def __init__(self, service: Service, row: Row, owner: Owner, config: Config) -> None:
        """Rests until the first request."""
        self._service = service
        self._row = row
        self._owner = owner
        self._stall = config.report_stalls
        self._period = period_of(config)
        self._timeouts = Timeouts(config, self._period) if config.timeout_request is not None else None
        self._make_task = service.make_task
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._busy_at = 0.0
        """When the next beat is due, and when something was in flight last, as of the event loop's clock."""
        service.make_task = self._begin

    def wake(self) -> None:
        """Beat from now on: something is in flight."""
        if self._timer is not None:
            return
        service = self._service
        service.make_task = self._make_task
        service.now = self._busy_at = now = service.loop.time()
        self._beat_on(now)
        if self._stall:
            self._row[Field.ACTIVE] = 1
            self._owner.active()

    def stop(self) -> None:
        """Beat no more, for good."""
        self._row[Field.ACTIVE] = 0
        if self._timer is not None:
            self._timer.cancel()
        self._service.make_task = self._make_task

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.wake()
        return self._make_task(coroutine)

    def _beat(self) -> None:
        service = self._service
        now = service.loop.time()
        late = now - self._due
        if self._stall and late + self._period / 2 >= self._stall:
            # It began between the last beat and the one that was due.
            self._owner.stalled(late + self._period / 2)
        service.now = now
        if self._timeouts is not None:
            self._timeouts.look(service.in_flight, now)
        if service.in_flight:
            self._busy_at = now
        elif now - self._busy_at >= REST:
            self._rest()
            return
        self._beat_on(now)

    def _beat_on(self, now: float) -> None:
        self._row[Field.BEAT] = time.monotonic()
        # A handler that blocks the loop lets nothing be shown any more.
        self._row[Field.IN_FLIGHT] = len(self._service.in_flight)
        self._due = now + self._period
        self._timer = self._service.loop.call_at(self._due, self._beat)

    def _rest(self) -> None:
        self._timer = None
        self._row[Field.ACTIVE] = 0
        self._row[Field.IN_FLIGHT] = 0
        self._service.make_task = self._begin


def is_wanted(config: Config) -> bool:
    """Whether an option needs a pulse."""
    return bool(config.report_stalls) or config.timeout_request is not None


def period_of(config: Config) -> float:
    """Seconds between beats, by the options."""
    periods: Sequence[float] = [LONGEST_TIMEOUT_PERIOD]
    if config.report_stalls:
        periods = [*periods, config.report_stalls / PARTS, ACTIVE_PERIOD]
    if config.timeout_request is not None:
        periods = [*periods, config.timeout_request / PARTS]
    return max(SHORTEST_PERIOD, min(periods))
