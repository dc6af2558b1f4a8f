"""What is wanted of the fleet: each end that a reload can have, without a fleet."""

from __future__ import annotations

from typing import Any

from tricorn.config.options import Config
from tricorn.ipc.waits import Waits
from tricorn.supervisor.phases import Phase, Plan, Worker
from tricorn.supervisor.snapshot import Result
from tricorn.supervisor.wanted import Wanted


def wanted(workers: int = 1, **options: Any) -> Wanted:
    return Wanted(Config(app="a:b", workers=workers, **options))


def ready(plan: Plan, slot: int = 0) -> Worker:
    worker = Worker(1, slot, plan, since=0.0, deadline=100.0)
    worker.enter(Phase.READY, 100.0)
    return worker


def test_a_reload_wants_the_next_generation_and_keeps_the_configuration_unless_another_is_given() -> None:
    it = wanted()
    first = it.plan
    it.reload(None, 5.0)
    assert (it.plan.generation, it.plan.config, it.settled) == (1, first.config, first)
    assert it.last_reload is not None
    assert (it.last_reload.generation, it.last_reload.began, it.last_reload.result) == (1, 5.0, Result.UNDER_WAY)
    it.reload(Config(app="c:d"), 6.0)
    assert (it.plan.generation, it.plan.config.app) == (2, "c:d")


def test_it_is_complete_when_every_slot_has_a_ready_worker_of_the_plan_and_no_old_one_serves() -> None:
    it = wanted(workers=2)
    old = ready(it.plan)
    it.reload(None, 1.0)
    it.settle([ready(it.plan, 0)], 2.0)
    it.settle([ready(it.plan, 0), ready(it.plan, 1), old], 3.0)
    assert not it.is_settled
    assert it.is_replacing([old])
    it.settle([ready(it.plan, 0), ready(it.plan, 1)], 4.0)
    assert it.is_settled
    assert it.last_reload is not None
    assert (it.last_reload.ended, it.last_reload.result) == (4.0, Result.COMPLETE)


def test_its_end_is_told_once_when_no_old_worker_is_left_and_after_a_while_with_what_they_wait_for() -> None:
    for waits, text in (
        (None, "Reload complete in 2.0 s; 1 old worker waits for worker 0"),
        (Waits(1, "GET /", 0.5, 1), "Reload complete in 2.0 s; 1 old worker waits for 1 request (GET /, 5 s)"),
    ):
        it = wanted()
        old = ready(it.plan)
        old.enter_draining(1.0, 30.0)
        old.waits, old.told_at = waits, 1.0
        it.reload(None, 1.0)
        workers = [old, ready(it.plan)]
        assert it.tell_at is None
        it.settle(workers, 3.0)
        assert it.tell_at == 4.5
        assert it.tell_complete(workers, True, 4.0) == ""
        assert it.tell_complete(workers, True, 5.5) == text
        assert it.tell_complete(workers[1:], True, 6.0) == ""
        assert it.tell_at is None
    it.reload(None, 10.0)
    it.settle([ready(it.plan)], 11.0)
    assert it.tell_complete([ready(it.plan)], True, 11.0) == "Reload complete in 1.0 s"


def test_after_a_stop_or_the_next_reload_its_end_is_told_at_once() -> None:
    for is_running in (True, False):
        it = wanted()
        old = ready(it.plan)
        old.enter_draining(1.0, 30.0)
        it.reload(None, 1.0)
        workers = [old, ready(it.plan)]
        it.settle(workers, 2.0)
        if is_running:
            it.reload(None, 2.5)
        assert it.tell_complete(workers, is_running, 2.5).startswith("Reload complete in 1.0 s; 1 old worker waits")


def test_in_development_the_ready_worker_says_it_instead() -> None:
    it = wanted(reload=True)
    it.reload(None, 1.0)
    it.settle([ready(it.plan)], 2.0)
    assert it.is_settled
    assert it.tell_at is None
    assert it.tell_complete([], True, 3.0) == ""


def test_an_abandoned_reload_wants_what_was_reached_last_with_its_size_and_the_next_one_has_a_number_of_its_own() -> None:
    it = wanted(workers=1)
    first = it.plan
    it.reload(Config(app="a:b", workers=3), 1.0)
    assert it.size == 3
    it.abandon("no attribute 'typo'", 2.0)
    assert (it.plan, it.size) == (first, 1)
    assert it.last_reload is not None
    assert (it.last_reload.result, it.last_reload.error) == (Result.ABANDONED, "no attribute 'typo'")
    it.reload(None, 3.0)
    assert it.plan.generation == 2


def test_a_size_changed_by_hand_outlives_a_reload_that_does_not_change_it_and_is_never_below_one() -> None:
    it = wanted(workers=2)
    it.resize(5)
    it.reload(Config(app="a:b", workers=2), 1.0)
    assert it.size == 5
    it.resize(-4)
    assert it.size == 1
