"""A fleet under attack: somebody kills a worker every few seconds, at any moment of its life. On a virtual clock.

The promise (BEHAVIOUR.md, Crashes): some worker is ready again within the time that a start takes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from tricorn.config.options import Config
from tricorn.supervisor import messages as m
from tricorn.supervisor.backoff import LAST_FAILED, LONGEST_DIED
from tricorn.supervisor.fleet import Fleet

START = 1.0
"""Seconds from a fork until the worker is ready."""
LENGTH = 300.0
"""Seconds that a siege lasts: longer than the longest wait doubles to."""


class Siege:
    """``gaps`` gives the seconds between two attacks, ``choose`` one of the living workers, None for none."""

    def __init__(self, workers: int, gaps: Callable[[], float], choose: Callable[[Siege], int | None], seed: int = 0) -> None:
        self.random = Random(seed)
        self.fleet = Fleet(Config(app="besieged:app", workers=workers), self.random.random)
        self.gaps, self.choose = gaps, choose
        self.now = 1000.0
        self.starting: dict[int, float] = {}
        """When each will be ready."""
        self.ready: dict[int, float] = {}
        """When each beats again."""
        self.forks: list[tuple[float, int]] = []
        """When, and for which slot."""
        self.served = 0.0
        """Seconds in which a worker was ready."""
        self.longest = 0.0
        """Seconds without a ready worker, counted from the last attack on one that was starting or ready."""

    def run(self) -> None:
        self._handle([])
        end, attack, since = self.now + LENGTH, math.inf, self.now
        while self.now < end:
            before, was_ready = self.now, bool(self.ready)
            deadline = self.fleet.next_deadline()
            times = [*self.starting.values(), *self.ready.values(), attack, math.inf if deadline is None else deadline]
            self.now = max(self.now, min(times))
            self.served += self.now - before if was_ready else 0
            facts = self._live()
            if self.now >= attack:
                victim = self.choose(self)
                if victim is not None:
                    facts.append(m.Exited(victim, "killed by SIGKILL"))
                    self.starting.pop(victim, None)
                    self.ready.pop(victim, None)
                    since = self.now
            if (self.ready and attack is math.inf) or self.now >= attack:
                attack = self.now + self.gaps()
            self._handle(facts)
            if was_ready or self.ready:
                since = self.now if self.ready else max(since, before)
            else:
                self.longest = max(self.longest, self.now - since)

    def _live(self) -> list[m.Fact]:
        facts: list[m.Fact] = []
        for worker, at in list(self.starting.items()):
            if at <= self.now:
                del self.starting[worker]
                self.ready[worker] = self.now + 1
                facts.append(m.Ready(worker))
        for worker, at in self.ready.items():
            if at <= self.now:
                self.ready[worker] = self.now + 1
                facts.append(m.Beat(worker, self.now))
        return facts

    def _handle(self, facts: list[m.Fact]) -> None:
        for action in self.fleet.handle(facts, self.now):
            if isinstance(action, m.Spawn):
                self.starting[action.worker] = self.now + START
                self.forks.append((self.now, action.slot))
            assert not isinstance(action, m.Kill | m.Drain), action


def any_worker(siege: Siege) -> int | None:
    alive = [*siege.starting, *siege.ready]
    return siege.random.choice(alive) if alive else None


def last_of_the_ready(siege: Siege) -> int | None:
    """One that serves, so one that a request can reach: the one that has been ready for the shortest time."""
    return max(siege.ready, default=None)


@pytest.mark.parametrize("workers", [1, 2, 4, 16])
@pytest.mark.parametrize("victim", [any_worker, last_of_the_ready])
def test_somebody_is_ready_again_within_the_time_of_a_start(workers: int, victim: Callable[[Siege], int | None]) -> None:
    for seed in range(8):
        chance = Random(seed)
        siege = Siege(workers, lambda chance=chance: chance.uniform(1.5, 8), victim, seed)  # type: ignore[misc]
        siege.run()
        # A worker that lived for a second is replaced at once, one that was killed in its start a little later.
        allowance = START + (LAST_FAILED if victim is any_worker else 0)
        assert siege.longest <= allowance + 0.01, f"seed {seed}: {siege.longest:.1f} s without a ready worker"


def test_a_request_that_kills_every_six_seconds_takes_one_worker_of_four_at_a_time() -> None:
    siege = Siege(4, lambda: 6.0, last_of_the_ready)
    siege.run()
    assert siege.served >= LENGTH - START - 0.01


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_that_die_as_soon_as_they_are_ready_are_not_forked_without_end(workers: int) -> None:
    siege = Siege(workers, lambda: 0.05, last_of_the_ready)
    siege.run()
    slots = Counter(slot for _, slot in siege.forks)
    # Once a second, and the first few sooner.
    assert max(slots.values()) <= LENGTH / LONGEST_DIED + 5
    for at, slot in siege.forks:
        within = [other for other, its in siege.forks if its == slot and at <= other < at + 10]
        assert len(within) <= 15, f"slot {slot} was forked {len(within)} times in ten seconds"


def test_starts_that_fail_are_tried_rarely_also_when_nobody_is_ready() -> None:
    # The first attack comes when somebody is ready; from then on nobody ever is.
    siege = Siege(4, lambda: 0.05, lambda siege: next(iter([*siege.ready, *siege.starting]), None))
    siege.run()
    # Each slot until its wait is half a minute long, and one of them all the time.
    assert LENGTH / LAST_FAILED / 2 <= len(siege.forks) <= LENGTH / LAST_FAILED + 4 * 20
