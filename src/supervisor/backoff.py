"""The answer to crashes: the wait before the next try, and the limit above which the supervisor gives up. Pure.

The limit is the restart intensity of Erlang/OTP's supervisor (lib/stdlib/src/supervisor.erl): a sliding window, so that old
crashes are forgotten one by one and not all at once.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

MINUTE = 60.0
SHORTEST = 0.1
"""Seconds to wait after the second crash. Each further crash doubles the wait."""
LONGEST_FAILED = 30.0
"""Seconds to wait at most after failed starts: the next one is likely to fail too, and costs a start's CPU time."""
LONGEST_DIED = 1.0
"""Seconds to wait at most after deaths of workers that had become ready: they served, so the fleet lacks them. A worker that
dies as soon as it is ready costs one start a second, on the core that would otherwise serve."""
LAST_FAILED = 2.0
"""Seconds between two tries, in any slot, while starts fail and no worker is ready: so the fleet soon notices that, say, a
database is back."""


class Backoff:
    """The wait before a slot is filled again.

    Two kinds of crashes are counted apart: deaths of workers that had become ready, and failed starts. Only failed starts make
    a slot wait long. So a client whose requests kill workers can't keep slots empty, and an application that can't start
    doesn't keep the machine busy. After a minute without a crash, both counts begin again.
    """

    def __init__(self) -> None:
        self.failures = 0
        """Failed starts in a row."""
        self.until = 0.0
        """When the next worker may be forked."""
        self.until_last = 0.0
        """The same, for when no worker of any slot is ready or starting, and this slot's last worker had become ready."""
        self._deaths = 0
        self._last = 0.0

    def state(self) -> list[Any]:
        """All of it, fit for JSON."""
        return [self.failures, self.until, self.until_last, self._deaths, self._last]

    def restore(self, state: list[Any]) -> None:
        """Go on from this :meth:`state`."""
        self.failures, self.until, self.until_last, self._deaths, self._last = state

    def died(self, now: float, forked: float, jitter: Callable[[], float]) -> float:
        """Count the death of a worker that had become ready and was forked at ``forked``; returns the seconds to wait."""
        self._count(now)
        self.failures = 0
        self._deaths += 1
        wait = _wait_after(self._deaths, LONGEST_DIED, jitter)
        self.until = now + wait
        # A worker that lived for a while is replaced at once, one that dies young once a second.
        self.until_last = min(self.until, max(now, forked + LONGEST_DIED))
        return wait

    def failed(self, now: float, jitter: Callable[[], float]) -> float:
        """Count a failed start; returns the seconds to wait."""
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
    """Seconds to wait after so many crashes in a row: none after the first.

    ``jitter`` (0..1) lengthens a wait below ``longest`` by up to half, so that slots that crashed together do not all come back
    together.
    """
    if crashes < 2:
        return 0.0
    # The exponent is bounded because a float is not: after a day of crashes 2.0**n would overflow.
    return min(longest, SHORTEST * 2.0 ** min(crashes - 2, 16) * (1 + jitter() / 2))


class Intensity:
    """Counts the crashes of the last minute."""

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        """When they were."""

    def exceeded(self, limit: int | None, now: float) -> bool:
        """Count a crash; returns whether there were more than ``limit`` within a minute (never, if None)."""
        if limit is None:
            self.times.clear()
            return False
        self.times.append(now)
        while self.times[0] <= now - MINUTE:
            self.times.popleft()
        return len(self.times) > limit


class Crashes:
    """All crashes of one fleet: when each slot may be filled again, and whether there were too many.

    ``jitter`` gives numbers from 0 to 1.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self.restarts: Counter[int] = Counter()
        """Crashes, hangs and failed starts of each slot, so far."""
        self.causes: dict[int, str] = {}
        """Why the last worker of a slot died, of slots in which one did; one line each."""
        self.failures: dict[int, str] = {}
        """The error of the last start, of slots in which it failed."""
        self._jitter = jitter
        self._slots: defaultdict[int, Backoff] = defaultdict(Backoff)
        self._intensity = Intensity()
        self._last_failure = 0.0
        """When a start failed last, in whatever slot."""

    def state(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "restarts": [*self.restarts.items()],
            "causes": [*self.causes.items()],
            "failures": [*self.failures.items()],
            "slots": [(slot, backoff.state()) for slot, backoff in self._slots.items()],
            "times": [*self._intensity.times],
            "last_failure": self._last_failure,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from this :meth:`state`."""
        self.restarts = Counter(dict(state["restarts"]))
        self.causes, self.failures = dict(state["causes"]), dict(state["failures"])
        for slot, backoff in state["slots"]:
            self._slots[slot].restore(backoff)
        self._intensity.times.extend(state["times"])
        self._last_failure = state["last_failure"]

    def died(self, slot: int, now: float, forked: float) -> None:
        """Count the death of a worker of ``slot`` that had become ready and was forked at the time ``forked``."""
        self._slots[slot].died(now, forked, self._jitter)

    def failed(self, slot: int, now: float, error: str = "") -> None:
        """Count a start that failed, for the reason ``error``."""
        self._last_failure = now
        self.failures[slot] = error
        self._slots[slot].failed(now, self._jitter)

    def exceeded(self, limit: int | None, now: float) -> bool:
        """Count a crash against ``--limit-crashes``; returns whether there were more than ``limit`` within a minute."""
        return self._intensity.exceeded(limit, now)

    def has_failed(self, slot: int) -> bool:
        """Whether the last start in ``slot`` failed."""
        return self._slots[slot].failures > 0

    def due(self, slot: int, is_any_left: bool) -> float:
        """When ``slot`` may be filled: sooner if no worker of any slot is ready or starting (``is_any_left``)."""
        backoff = self._slots[slot]
        if is_any_left:
            return backoff.until
        return min(backoff.until, self._last_failure + LAST_FAILED) if backoff.failures else backoff.until_last

    def forgive(self) -> None:
        """Let no slot wait any longer: new code deserves a fresh start."""
        self._slots.clear()
        self.failures.clear()

    def forgive_slot(self, slot: int) -> None:
        """Let ``slot`` wait no longer: an order asks for a worker."""
        self._slots.pop(slot, None)
        self.failures.pop(slot, None)
