"""How crashes are answered: the wait before the next try, and the limit above which the supervisor gives up.

Both are pure. The limit is the restart intensity of Erlang/OTP's supervisor (lib/stdlib/src/supervisor.erl): a sliding
window, so that old crashes are forgotten one by one and not all at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MINUTE = 60.0
SHORTEST, LONGEST = 0.1, 30.0
"""Seconds to wait after the second crash, and at most."""


class Backoff:
    """The wait before a slot is filled again."""

    def __init__(self) -> None:
        self.crashes = 0
        """Crashes in a row, each less than a minute after the one before."""
        self.until = 0.0
        """When the next worker may be forked."""
        self._last = 0.0

    def crashed(self, now: float, jitter: Callable[[], float]) -> float:
        """Count a crash; returns the seconds to wait.

        The first crash is answered at once; each further one within a minute of the last doubles the wait. ``jitter``
        (0..1) lengthens it by up to half, so that slots that crashed together do not all come back together.
        """
        if now - self._last > MINUTE:
            self.crashes = 0
        self.crashes += 1
        self._last = now
        wait = 0.0
        if self.crashes > 1:
            # The exponent is bounded because a float is not: after a day of crashes 2.0**n would overflow.
            wait = min(LONGEST, SHORTEST * 2.0 ** min(self.crashes - 2, 16) * (1 + jitter() / 2))
        self.until = now + wait
        return wait


class Intensity:
    """Counts the crashes of the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def exceeded(self, limit: int | None, now: float) -> bool:
        """Count a crash; returns whether there were more than ``limit`` within a minute (never, if None)."""
        if limit is None:
            self._times.clear()
            return False
        self._times.append(now)
        while self._times[0] <= now - MINUTE:
            self._times.popleft()
        return len(self._times) > limit
