"""``--timeout-request``: cancels requests that take too long, and says where they were."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from ..config.options import Config
from ..protocols.asgi import Scope
from ..protocols.context import Work
from ..protocols.exchange import CLIENT_LEFT, Exchange
from .places import place_of, place_of_handler

logger = logging.getLogger("tricorn.error")

MAX_SEARCHES = 5
"""Requests of one look whose handlers are looked for in all tasks. Hundreds may be late at once, and most for one reason."""


class Timeouts:
    """Looks at requests in flight from time to time. WebSockets are no requests."""

    def __init__(self, config: Config, period: float) -> None:
        """``period``: seconds by which the times at which requests began may be too early."""
        assert config.timeout_request is not None
        self._seconds = config.timeout_request
        self._age = config.timeout_request + period
        self._exempt = config.timeout_request_exempt
        self._done: set[Work] = set()
        """Those that were cancelled and have not ended yet."""

    def look(self, in_flight: Iterable[Work], now: float) -> None:
        """Cancel what began too long before ``now``, as of the clock of ``Work.since``."""
        late = [work for work in in_flight if now - work.since >= self._age and isinstance(work, Exchange)]
        if self._done:
            self._done.intersection_update(late)
        searches = MAX_SEARCHES
        for exchange in late:
            if exchange not in self._done and not exchange.is_complete and not self._is_exempt(exchange):
                self._done.add(exchange)
                self._cancel(exchange, searches > 0)
                searches -= 1

    def _is_exempt(self, exchange: Exchange) -> bool:
        return bool(self._exempt) and exchange.request.parts[0].startswith(self._exempt)

    def _cancel(self, exchange: Exchange, searches: bool) -> None:
        """``searches``: whether to look for the handler in all tasks."""
        status = exchange.status
        task = exchange.time_out()
        where = _where(task, exchange.scope if searches else None)
        if exchange.status == CLIENT_LEFT:
            end = "its client had closed the connection"
        else:
            end = "answered 504" if exchange.is_complete else f"its response ({status}) broken off"
        logger.warning("%s: --timeout-request %g s passed, %s; it waited %s", exchange.describe(), self._seconds, end, where)


def _where(task: asyncio.Task[None] | None, scope: Scope | None) -> str:
    if task is None:
        return "in Tricorn"
    place = place_of(task) if scope is None else place_of_handler(task, scope)
    return f"at {place}" if place else "in Tricorn"
