"""What a worker does once a second: it proves that its event loop turns, and shows how it is doing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..ipc.counts import RowWriter
from ..ipc.scoreboard import BEAT_PERIOD, Field, Row
from ..protocols.context import Service


class Heartbeat:
    """Writes the worker's row of the scoreboard, has ``meters`` shown, and calls ``then``, from :meth:`start` to :meth:`stop`.

    A timer per connection would cost too much. So the service's clock, the deadlines of connections and whatever else may be a
    second late share this one timer. How late the timer itself comes is the lag: for so long the event loop did not turn.
    """

    def __init__(self, row: Row, meters: RowWriter, service: Service, then: Callable[[float], None]) -> None:
        """``then`` gets the event loop's time, after the row is written and the service's clock is renewed."""
        self._row = row
        self._meters = meters
        self._service = service
        self._then = then
        self._due = 0.0
        """When the next beat is due, as of the event loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat now, and then once a second."""
        self._due = self._service.loop.time()
        self._beat()

    def stop(self) -> None:
        """Beat no more. What was counted last is shown."""
        self._meters.show()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        service, row = self._service, self._row
        now = service.loop.time()
        row[Field.BEAT] = time.monotonic()
        row[Field.LAG] = now - self._due
        row[Field.IN_FLIGHT] = len(service.in_flight)
        row[Field.REQUESTS] = service.requests
        self._meters.show()
        service.tick()
        self._then(now)
        self._due = now + BEAT_PERIOD
        self._timer = service.loop.call_at(self._due, self._beat)
