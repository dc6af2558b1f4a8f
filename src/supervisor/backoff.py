"""How crashes are answered: the wait before the next try, and the limit above which the supervisor gives up.

Both are pure. The limit is the restart intensity of Erlang/OTP's supervisor (lib/stdlib/src/supervisor.erl): a sliding
window, so that old crashes are forgotten one by one and not all at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MINUTE = 60.0
SHORTEST = 0.1
"""Seconds to wait after the second crash; each further one doubles the wait."""
LONGEST_FAILED = 30.0
"""Seconds to wait at most after starts that failed: the next one is likely to fail too, and costs a start's CPU time."""
LONGEST_DIED = 1.0
"""Seconds to wait at most after workers that had become ready: each of them served, and is missed. A worker that dies as soon
as it is ready costs one start a second, on the core that would otherwise serve."""
LAST_FAILED = 2.0
"""Seconds between two tries, in whatever slot, while starts fail and nobody is ready: a database that is back is noticed."""


class Backoff:
    """The wait before a slot is filled again.

    Two kinds of crashes are counted apart, each less than a minute after the one before: deaths of workers that had become
    ready, and starts that failed. Only the latter make a slot wait long. So a client whose requests kill workers can't keep
    slots empty, and an application that can't start doesn't keep the machine busy.
    """

    def __init__(self) -> None:
        self.failures = 0
        """Starts in a row that failed."""
        self.until = 0.0
        """When the next worker may be forked."""
        self.until_last = 0.0
        """The same if no worker of any slot is ready or starting, and this slot's last one had become ready."""
        self._deaths = 0
        self._last = 0.0

    def died(self, now: float, forked: float, jitter: Callable[[], float]) -> float:
        """Count the death of a worker that had become ready, forked at the time ``forked``; returns the seconds to wait."""
        self._count(now)
        self.failures = 0
        self._deaths += 1
        wait = _wait_after(self._deaths, LONGEST_DIED, jitter)
        self.until = now + wait
        # Replaced at once if it lived for a while; one that dies young is forked once a second.
        self.until_last = min(self.until, max(now, forked + LONGEST_DIED))
        return wait

    def failed(self, now: float, jitter: Callable[[], float]) -> float:
        """Count a start that failed; returns the seconds to wait."""
        self._count(now)
        self.failures += 1
        wait = _wait_after(self.failures + bool(self._deaths), LONGEST_FAILED, jitter)
        self.until = now + wait
        return wait

    def _count(self, now: float) -> None:
        if now - self._last > MINUTE:
            self._deaths = self.failures = 0
        self._last = now


def _wait_after(crashes: int, longest: float, jitter: Callable[[], float]) -> float:
    """Seconds to wait after so many crashes in a row.

    The first is answered at once. ``jitter`` (0..1) lengthens a wait below ``longest`` by up to half, so that slots that
    crashed together do not all come back together.
    """
    if crashes < 2:
        return 0.0
    # The exponent is bounded because a float is not: after a day of crashes 2.0**n would overflow.
    return min(longest, SHORTEST * 2.0 ** min(crashes - 2, 16) * (1 + jitter() / 2))


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
