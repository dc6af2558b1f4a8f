"""Canaries: when one is worse, when it is good enough, and what the fleet makes of that."""

from __future__ import annotations

from typing import Any

import pytest
from support.told import Told
from tricorn.config.options import Config
from tricorn.supervisor.canary import Evidence, Group, Terms, Verdict, Wish, chance, decide, highest_share, misfit, terms_of
from tricorn.supervisor.canary_meter import slower
from tricorn.supervisor.messages import CallOff, Drain, Exited, Failed, Level, Measure, Measured, Ready
from tricorn.supervisor.orders import Reload, Resize
from tricorn.supervisor.phases import Phase
from tricorn.supervisor.snapshot import Result

TERMS = Terms("1", seconds=60, max_errors=1, max_latency=2)
ORDER = Reload(canary=Wish("1", seconds=60))


def group(requests: float, errors: float = 0, p95: float | None = 0.01) -> Group:
    return Group(requests, errors, p95 if requests else None)


@pytest.mark.parametrize(
    ("canary", "others", "slow", "is_over", "verdict"),
    [
        # Errors: what can't be chance is seen at once.
        (group(20, 6), group(60), 0, False, Verdict.WORSE),
        (group(5, 5), group(500), 0, False, Verdict.WORSE),
        (group(5, 5), group(0), 0, False, Verdict.WORSE),
        (group(5, 1), group(500), 0, False, Verdict.OPEN),
        (group(100, 2), group(500), 0, False, Verdict.OPEN),
        # Both fail as often: the new code is not to blame.
        (group(200, 60), group(600, 180), 0, False, Verdict.OPEN),
        (group(200, 60), group(600, 180), 0, True, Verdict.FINE),
        (group(200), group(600, 180), 0, True, Verdict.FINE),
        # At the end: a difference that may be chance is not enough for either.
        (group(100, 2), group(500), 0, True, Verdict.OPEN),
        (group(100, 1), group(500), 0, True, Verdict.FINE),
        (group(1000, 40), group(5000), 0, True, Verdict.WORSE),
        # Too few requests are not compared.
        (group(49), group(500), 0, True, Verdict.OPEN),
        (group(50), group(500), 0, True, Verdict.FINE),
        (group(0), group(0), 0, True, Verdict.OPEN),
        # Latency counts only at the end: at first everything is cold.
        (group(500), group(500), 400, False, Verdict.OPEN),
        (group(500), group(500), 400, True, Verdict.WORSE),
        (group(500), group(500), 30, True, Verdict.OPEN),
        (group(500), group(500), 25, True, Verdict.FINE),
        # Without others there is nothing to be slower than.
        (group(500), group(0), 0, True, Verdict.FINE),
    ],
)
def test_the_rule(canary: Group, others: Group, slow: float, is_over: bool, verdict: Verdict) -> None:
    assert decide(TERMS, Evidence(canary, others, slow), is_over)[0] is verdict


@pytest.mark.parametrize(("share", "size", "count"), [("1", 4, 1), ("9", 4, 4), ("25%", 4, 1), ("26%", 4, 2), ("1%", 4, 1)])
def test_how_many(share: str, size: int, count: int) -> None:
    assert Terms(share, 60, 1, 2).count(size) == count


def test_a_tiny_time_makes_no_busy_loop() -> None:
    assert Terms("1", 1e-9, 1, 2).pause == 0.05


def test_an_order_overrules_the_options() -> None:
    config = Config(app="a:b", reload_canary="2", reload_canary_seconds=30)
    assert terms_of(config, Wish()) == Terms("2", 30, 1, 2)
    assert terms_of(config, Wish("3", max_errors=5)) == Terms("3", 30, 5, 2)
    assert terms_of(config, Wish("0")) is None
    assert terms_of(Config(app="a:b"), Wish()) is None


def test_the_binomial_distribution() -> None:
    assert chance(1, 5, 0.01) == pytest.approx(1 - 0.99**5)
    assert chance(5, 5, 0.1) == pytest.approx(0.1**5)
    assert chance(60, 100, 0.5) == pytest.approx(0.0284, rel=0.01)
    assert chance(0, 0, 0.1) == chance(3, 100, 0.5) == 1
    # Where it is not added up any more it does not jump.
    assert chance(600, 10_000, 0.055) == pytest.approx(chance(600, 10_001, 0.055), rel=0.15)


def test_the_highest_share_is_far_for_few_requests_and_near_for_many() -> None:
    assert highest_share(group(0)) == 0
    assert 0.15 < highest_share(group(10)) < 0.3
    assert 0.3 < highest_share(group(1000, 300)) < 0.33


def test_what_took_longer_is_taken_as_even_within_a_bucket() -> None:
    buckets = [10.0, 20.0] + [0.0] * 11 + [5.0]
    assert slower(buckets, 0.0) == 35
    assert slower(buckets, 0.001) == 25
    assert slower(buckets, 0.00175) == 15
    assert slower(buckets, 100) == 5


def tried(**options: object) -> Told:
    """A fleet of two with a canary that serves."""
    told = Told(workers=2, **options)
    told.tell(Ready(1), Ready(2))
    assert told.tell(ORDER) == [told.spawn(3, slot=0, generation=1)]
    assert told.tell(Ready(3)) == [Measure(1, 2, fresh=True)]
    return told


GOOD = Measured(1, Evidence(group(100), group(200), 0))
BAD = Measured(1, Evidence(group(100, 30), group(200), 0))


def test_a_canary_serves_beside_the_others_until_it_is_promoted() -> None:
    told = tried()
    assert told.phases() == [(1, Phase.READY), (2, Phase.READY), (3, Phase.READY)]
    assert told.beat(1) == [Measure(1, 2)]
    # Good, but its time is not over.
    assert told.tell(GOOD) == []
    for _ in range(60):
        told.beat(1)
    assert told.tell(GOOD) == [Drain(1, patient=True), told.spawn(4, slot=1, generation=1)]
    assert told.tell(Ready(4)) == [Drain(2, patient=True)]
    assert told.fleet.wanted.last_reload is not None
    assert told.fleet.wanted.last_reload.result is Result.COMPLETE


def test_a_bad_one_is_rolled_back_at_once_and_nothing_is_started() -> None:
    told = tried()
    assert told.tell(BAD, after=1) == [Drain(3, patient=True)]
    assert told.texts(Level.ERROR)[-1].startswith("Canary rolled back: 30 % of its 100 requests failed")
    last = told.fleet.wanted.last_reload
    assert last is not None
    assert (last.result, last.generation) == (Result.ROLLED_BACK, 1)
    assert told.fleet.wanted.is_settled
    # Evidence that comes late changes nothing.
    assert told.tell(GOOD, BAD) == []


def test_a_canary_that_crashes_is_rolled_back_and_an_old_worker_that_crashes_is_replaced_by_an_old_one() -> None:
    told = tried()
    assert told.tell(Exited(1, "killed by SIGSEGV")) == [told.spawn(4, slot=0, generation=0)]
    told.tell(Ready(4))
    assert told.tell(Exited(3, "exit code 1")) == []
    assert told.fleet.wanted.is_settled
    assert told.phases() == [(2, Phase.READY), (4, Phase.READY)]


def test_canaries_that_do_not_all_start_all_go() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    told.tell(Reload(canary=Wish("2")), Ready(3))
    told.tell(Ready(3))
    assert told.tell(Failed(4, "ImportError")) == [Drain(3, patient=True)]
    assert told.fleet.wanted.is_settled


def test_a_plain_reload_supersedes_a_canary() -> None:
    told = tried()
    assert told.tell(Reload()) == [Drain(3, patient=True), told.spawn(4, slot=0, generation=2)]


def test_a_canary_that_still_starts_is_called_off() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    told.tell(ORDER)
    assert told.tell(Reload()) == [CallOff(3, patient=True), told.spawn(4, slot=0, generation=2)]


def test_a_resize_concerns_the_old_ones() -> None:
    told = tried()
    assert told.tell(Resize(+1)) == [told.spawn(4, slot=2, generation=0)]


def test_without_a_worker_that_was_ready_there_is_no_canary() -> None:
    told = Told(workers=2)
    told.tell(ORDER)
    assert told.fleet.wanted.canary is None


@pytest.mark.parametrize(
    ("errors", "p95", "said"),
    [(100, 12.3456, "100 % errors, 95 % within 12346 ms"), (1, 0.01, "1 % errors, 95 % within 10 ms")],
)
def test_numbers_are_said_without_powers_of_ten(errors: float, p95: float, said: str) -> None:
    assert str(group(100, errors, p95)) == f"100 requests, {said}"


@pytest.mark.parametrize(
    ("options", "wish", "why"),
    [
        ({}, Wish("1", seconds=3), ""),
        ({}, Wish("0", seconds=3), ""),
        ({}, Wish(seconds=3), "say with --canary how many"),
        ({"reload_canary": "1"}, Wish(seconds=3), ""),
        ({"reload": True}, Wish("1"), "with --reload all workers are replaced at once"),
        ({"reload": True}, Wish("0"), ""),
        ({"reload": True, "reload_canary": "1"}, Wish(), ""),
    ],
)
def test_a_wish_that_would_be_ignored_is_refused(options: dict[str, Any], wish: Wish, why: str) -> None:
    told = misfit(Config(app="a:b", **options), wish)
    assert why in told
    assert bool(told) == bool(why)


@pytest.mark.parametrize("share", ["0", "00", "0%", "00%"])
def test_no_workers_are_no_canary(share: str) -> None:
    assert terms_of(Config(app="a:b"), Wish(share)) is None
