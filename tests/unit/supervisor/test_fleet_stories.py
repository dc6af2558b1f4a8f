"""The fleet's promises, each in a short story of facts and actions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.told import Told
from tricorn.config.options import Config
from tricorn.ipc.waits import Waits
from tricorn.supervisor.backoff import Backoff, Intensity
from tricorn.supervisor.fleet import Fleet
from tricorn.supervisor.messages import (
    Action,
    Beat,
    CallOff,
    Drain,
    Exited,
    Fact,
    Failed,
    Finish,
    Kill,
    Level,
    Quit,
    Ready,
    Recycle,
    ReportHang,
    Say,
    Spawn,
    Unready,
    Waiting,
)
from tricorn.supervisor.orders import Reload, Resize, Stop, StopNow
from tricorn.supervisor.phases import Phase

# ---------------------------------------------------------------------------------------------------------------- starts


def test_the_first_start_fills_all_slots() -> None:
    fleet = Fleet(Config(app="a:b", workers=3), jitter=lambda: 0.0)
    spawned = [action for action in fleet.handle([], 0.0) if isinstance(action, Spawn)]
    assert [(action.worker, action.slot, action.generation) for action in spawned] == [(1, 0, 0), (2, 1, 0), (3, 2, 0)]
    assert fleet.next_deadline() == 60.0


def test_an_application_that_never_starts_is_tried_once_and_told_once() -> None:
    told = Told(workers=3)
    assert told.tell(Failed(1, "Traceback ..."), Failed(2, "Traceback ...")) == []
    assert told.tell(Exited(1, "exit code 3"), Exited(2, "exit code 3"), after=0.1) == []
    assert told.tell(Failed(3, "Traceback ..."), Exited(3, "exit code 3"), after=0.1) == [Finish(3)]
    assert told.said == [Say(Level.ERROR, "Traceback ...")]


def test_workers_that_failed_at_first_are_tried_again_once_one_was_ready() -> None:
    told = Told(workers=2)
    assert told.tell(Exited(1, "exit code 1")) == []
    assert told.tell(Ready(2)) == [told.spawn(3, slot=0)]


def test_who_never_becomes_ready_ends_the_first_start() -> None:
    told = Told(timeout_worker_startup=5)
    assert told.tell(after=5) == [ReportHang(1)]
    assert told.tell(after=0.5) == [Kill(1)]
    assert told.tell(Exited(1, "killed by SIGKILL")) == [Finish(3)]
    assert told.texts() == ["not ready within --timeout-worker-startup 5 s; killed"]


# --------------------------------------------------------------------------------------------------------------- crashes


def waits_after(told: Told, slot: int, *facts: Callable[[int], Fact]) -> list[float]:
    """Tell ``facts`` of each worker of ``slot``, twelve times; returns the seconds until its successor is forked."""
    waits = []
    for _ in range(12):
        [worker] = [worker.id for worker in told.fleet.workers.values() if worker.slot == slot]
        actions = [action for fact in facts for action in told.tell(fact(worker))]
        began = told.now
        while not any(isinstance(action, Spawn) and action.slot == slot for action in actions):
            deadline = told.fleet.next_deadline()
            assert deadline is not None
            actions = told.tell(*(Beat(other, deadline) for other in told.fleet.workers), after=deadline - told.now)
        waits.append(round(told.now - began, 1))
    return waits


def test_workers_that_had_become_ready_are_missed_for_a_second_at_most() -> None:
    told = Told(workers=2)
    told.tell(Ready(1))
    waits = waits_after(told, 1, Ready, lambda worker: Exited(worker, "exit code 1"))
    assert waits == [0, 0.1, 0.2, 0.4, 0.8, *[1] * 7]


def test_starts_that_fail_are_answered_at_once_then_ever_more_slowly() -> None:
    told = Told(workers=2)
    told.tell(Ready(1))
    waits = waits_after(told, 1, lambda worker: Exited(worker, "exit code 1"))
    assert waits == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


def test_nobody_waits_long_for_the_last_slot() -> None:
    told = Told()
    told.tell(Ready(1))
    assert waits_after(told, 0, Ready, lambda worker: Exited(worker, "exit code 1")) == [0, 0.1, 0.2, 0.4, 0.8, *[1] * 7]
    assert waits_after(told, 0, lambda worker: Exited(worker, "exit code 1")) == [0.1, 0.2, 0.4, 0.8, 1.6, *[2] * 7]
    # What lived for a while is replaced at once.
    told.tell(Ready(max(told.fleet.workers)))
    told.beat(after=5)
    worker = max(told.fleet.workers)
    assert told.tell(Exited(worker, "exit code 1")) == [told.spawn(worker + 1)]


def test_a_minute_without_a_crash_clears_the_wait() -> None:
    backoff = Backoff()
    assert [backoff.failed(at, lambda: 0.0) for at in (100, 110, 120, 180.1, 181)] == [0, 0.1, 0.2, 0, 0.1]
    assert [backoff.died(at, at, lambda: 0.0) for at in (300, 310, 320, 380.1, 381)] == [0, 0.1, 0.2, 0, 0.1]


def test_jitter_only_lengthens_a_wait_and_not_beyond_the_longest() -> None:
    backoff = Backoff()
    waits = [backoff.failed(100, lambda: 1.0) for _ in range(2000)]
    assert waits[:3] == [0, pytest.approx(0.15), pytest.approx(0.3)]
    assert waits[-1] == 30


def test_the_limit_counts_the_crashes_of_a_minute() -> None:
    intensity = Intensity()
    assert [intensity.exceeded(2, at) for at in (0, 10, 61, 71, 72, 140)] == [False, False, False, False, True, False]


def test_too_many_crashes_end_it_with_code_4() -> None:
    told = Told(workers=2, limit_crashes=1)
    told.tell(Ready(1), Ready(2))
    assert told.tell(Exited(1, "exit code 1")) == [told.spawn(3)]
    assert told.tell(Exited(3, "exit code 1")) == [Drain(2, patient=False)]
    assert told.tell(Stop(), Exited(2, "exit code 0")) == [Finish(4)]


def test_hung_workers_are_found_at_the_same_time() -> None:
    told = Told(workers=3)
    told.tell(Ready(1), Ready(2), Ready(3))
    assert told.tell(Beat(2, 29.0), after=30) == [ReportHang(1), ReportHang(3)]
    actions = told.tell(after=0.5)
    assert actions[:2] == [Kill(1), Kill(3)]
    assert [action.slot for action in actions if isinstance(action, Spawn)] == [0, 2]


# ---------------------------------------------------------------------------------------------------- reload and recycle


def test_a_reload_replaces_one_after_the_other() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    assert told.tell(Reload()) == [told.spawn(3, slot=0, generation=1)]
    assert told.tell(Ready(3), after=0.3) == [Drain(1, patient=True), told.spawn(4, slot=1, generation=1)]
    assert told.tell(Exited(1, "exit code 0")) == []
    assert told.tell(Ready(4), after=0.2) == [Drain(2, patient=True)]
    assert told.tell(Exited(2, "exit code 0"), after=0.2) == []
    assert told.texts()[-2:] == ["drained: exit code 0", "Reload complete in 0.5 s"]


def test_surge_sets_how_many_are_replaced_at_a_time() -> None:
    told = Told(workers=4, surge=2)
    told.tell(*(Ready(worker) for worker in range(1, 5)))
    assert [action.slot for action in told.tell(Reload()) if isinstance(action, Spawn)] == [0, 1]


def test_without_room_for_one_more_a_worker_is_gone_before_its_successor_starts() -> None:
    told = Told(workers=2, surge=0)
    told.tell(Ready(1), Ready(2))
    assert told.tell(Reload()) == [Drain(1, patient=True)]
    assert told.tell(Exited(1, "exit code 0")) == [told.spawn(3, slot=0, generation=1)]
    assert told.tell(Ready(3)) == [Drain(2, patient=True)]
    assert told.tell(Exited(2, "exit code 0")) == [told.spawn(4, slot=1, generation=1)]
    told.tell(Ready(4))
    assert told.texts()[-1].startswith("Reload complete")


def test_without_room_for_one_more_a_broken_deploy_costs_one_worker_until_it_is_abandoned() -> None:
    told = Told(workers=2, surge=0)
    told.tell(Ready(1), Ready(2))
    told.tell(Reload())
    told.tell(Exited(1, "exit code 0"))
    told.tell(Failed(3, "SyntaxError"))
    assert told.texts(Level.ERROR)[-1].startswith("Reload abandoned")
    # By the plan that was reached last, and only when the failed one is gone.
    assert told.tell(Exited(3, "exit code 3"), after=1) == [told.spawn(4, slot=0)]
    assert told.phases() == [(2, Phase.READY), (4, Phase.STARTING)]


def test_without_room_for_one_more_a_slot_that_is_not_wanted_makes_room() -> None:
    told = Told(workers=3, surge=0)
    told.tell(Ready(1), Ready(3))
    assert told.tell(Exited(2, "exit code 1"), Resize(-1)) == [Drain(3, patient=True)]
    assert told.tell(Exited(3, "exit code 0"), after=60) == [told.spawn(4, slot=1)]


def test_a_second_reload_supersedes_the_first() -> None:
    told = Told()
    told.tell(Ready(1))
    assert told.tell(Reload()) == [told.spawn(2, generation=1)]
    assert told.tell(Reload()) == [CallOff(2, patient=True), told.spawn(3, generation=2)]
    assert told.tell(Ready(3)) == [Drain(1, patient=True)]


def test_a_broken_deploy_leaves_the_running_generation_alone() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    told.tell(Reload())
    assert told.tell(Failed(3, "SyntaxError")) == []
    assert told.tell(Exited(3, "exit code 3"), after=0.1) == []
    serving = "Reload abandoned: the workers that run go on serving"
    risk = "one that crashes is replaced from the code on disk, which may fail"
    assert told.texts(Level.ERROR) == ["SyntaxError", f"{serving}; {risk}"]
    assert told.phases() == [(1, Phase.READY), (2, Phase.READY)]
    assert told.tell(Reload()) == [told.spawn(4, generation=2)]
    assert told.tell(Ready(4)) == [Drain(1, patient=True), told.spawn(5, slot=1, generation=2)]


@pytest.mark.parametrize("ending", ["exited", "late"])
def test_a_reload_is_abandoned_however_its_worker_fails(ending: str) -> None:
    told = Told(timeout_worker_healthcheck=300)
    told.tell(Ready(1))
    told.tell(Reload())
    if ending == "exited":
        assert told.tell(Exited(2, "killed by SIGSEGV")) == []
    else:
        assert told.tell(after=60) == [ReportHang(2)]
        assert told.tell(after=0.5) == [Kill(2)]
    assert told.texts(Level.ERROR)[-1].startswith("Reload abandoned")


def test_half_a_reload_stays_when_the_rest_fails() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    told.tell(Reload())
    told.tell(Ready(3))
    assert told.tell(Failed(4, "flaky"), Exited(1, "exit code 0"), Exited(4, "exit code 3")) == []
    assert told.phases() == [(2, Phase.READY), (3, Phase.READY)]


def test_after_an_abandoned_reload_workers_are_born_with_the_configuration_that_works() -> None:
    told = Told()
    told.tell(Ready(1))
    broken = Config(app="a:typo", workers=3)
    spawned = [action for action in told.tell(Reload(broken)) if isinstance(action, Spawn)]
    assert {action.config for action in spawned} == {broken}
    told.tell(Failed(2, "no attribute 'typo'"))
    assert told.fleet.wanted.size == 1
    assert told.tell(Exited(1, "killed by SIGKILL")) == [told.spawn(5)]


def test_a_reload_tries_slots_that_wait_at_once() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    assert told.tell(Exited(1, "exit code 1")) == [told.spawn(3)]
    assert told.tell(Exited(3, "exit code 1")) == []
    assert [action.slot for action in told.tell(Reload()) if isinstance(action, Spawn)] == [0, 1]


def test_a_worker_is_recycled_only_after_its_successor_is_ready() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    assert told.tell(Recycle(1, "old"), Recycle(2, "fat")) == [told.spawn(3, slot=0)]
    assert told.tell(Ready(3)) == [Drain(1, patient=True), told.spawn(4, slot=1)]
    assert told.tell(Ready(4)) == [Drain(2, patient=True)]


def test_nobody_drains_while_another_slot_is_empty() -> None:
    told = Told(workers=2, surge=2)
    told.tell(Ready(1), Ready(2))
    told.tell(Recycle(1, "old"))
    assert told.tell(Exited(2, "exit code 1"), Ready(3)) == [told.spawn(4, slot=1)]
    assert told.tell(Ready(4)) == [Drain(1, patient=True)]


def test_a_slot_that_waits_for_its_backoff_keeps_its_place() -> None:
    told = Told(workers=3)
    told.tell(Ready(1), Ready(2), Ready(3))
    told.tell(Exited(3, "exit code 1"))
    # Slot 2 waits; slot 0 may use the surge, but slot 1 may not use slot 2's place.
    assert told.tell(Exited(4, "exit code 1"), Recycle(1, "old"), Recycle(2, "old")) == [told.spawn(5, slot=0)]
    assert told.tell(after=0.1) == [told.spawn(6, slot=2)]


def test_a_worker_that_becomes_ready_as_it_is_called_off_drains() -> None:
    """It may have accepted connections, though we read that it is ready only after we had decided."""
    told = Told(workers=2)
    told.tell(Ready(1))
    assert told.tell(Resize(-1)) == [CallOff(2, patient=True)]
    assert told.tell(Ready(2), after=0.9) == []
    assert told.phase(2) is Phase.DRAINING
    told.beat(after=29)
    assert told.phase(2) is Phase.DRAINING
    assert told.tell(Exited(2, "exit code 0")) == []
    assert "drained: exit code 0" in told.texts()


def test_a_worker_that_does_not_hear_that_it_is_called_off_is_killed() -> None:
    told = Told(workers=2)
    told.tell(Ready(1))
    told.tell(Resize(-1))
    assert told.tell(after=1.0) == [Kill(2)]
    assert told.tell(Exited(2, "killed by SIGKILL")) == []
    assert told.texts(Level.WARNING) == []


# ---------------------------------------------------------------------------------------------------------------- resize


def test_the_highest_slot_leaves_and_comes_back() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    assert told.tell(Resize(-1)) == [Drain(2, patient=True)]
    assert told.tell(Resize(-1)) == []
    assert told.tell(Resize(+1)) == [told.spawn(3, slot=1)]
    assert told.texts()[-3:] == ["Now 1 worker", "Now 1 worker", "Now 2 workers"]


def test_a_slot_that_leaves_stays_as_long_as_it_is_needed() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    # Slot 0 is the one that is wanted, but slot 1 is the one that serves.
    assert told.tell(Exited(1, "exit code 1"), Resize(-1)) == [told.spawn(3, slot=0)]
    assert told.tell(Ready(3)) == [Drain(2, patient=True)]


def test_of_those_that_leave_the_highest_leaves_first() -> None:
    told = Told(workers=3)
    told.tell(Ready(1), Ready(2), Ready(3))
    assert told.tell(Exited(1, "exit code 1"), Resize(-1), Resize(-1)) == [Drain(3, patient=True), told.spawn(4, slot=0)]
    assert told.tell(Ready(4)) == [Drain(2, patient=True)]


def test_a_reload_may_change_the_size_and_otherwise_keeps_it() -> None:
    told = Told(workers=1)
    told.tell(Ready(1))
    told.tell(Resize(+1))
    told.tell(Reload(Config(app="new:app", workers=1)))
    assert told.fleet.wanted.size == 2
    told.tell(Reload(Config(app="new:app", workers=4)))
    assert told.fleet.wanted.size == 4


# ------------------------------------------------------------------------------------------------------------------ stop


def test_stop_is_answered_in_the_middle_of_a_reload() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2))
    told.tell(Reload())
    told.tell(Ready(3))
    actions = told.tell(Stop())
    assert sorted(map(str, actions)) == sorted(
        map(str, [Drain(w, patient=False) for w in (1, 2, 3)] + [CallOff(4, patient=False)])
    )
    assert told.tell(*(Exited(worker, "exit code 0") for worker in (1, 2, 3, 4))) == [Finish(0)]
    assert told.tell(Reload(), Stop()) == []
    assert told.fleet.next_deadline() is None


def ready() -> Told:
    told = Told()
    told.tell(Ready(1), after=1)
    return told


def test_stop_does_not_prolong_a_drain() -> None:
    told = Told(timeout_graceful_shutdown=30, timeout_worker_healthcheck=300)
    told.tell(Ready(1))
    told.tell(Recycle(1, "old"))
    told.tell(Ready(2))
    told.tell(Waiting(1, Waits(1, "GET /stream", 0.0, 1)))
    assert told.tell(Stop(), after=31) == [Drain(1, patient=False), Drain(2, patient=False)]
    assert told.tell(after=1) == [ReportHang(1)]


def test_a_second_stop_kills_at_once() -> None:
    told = ready()
    assert told.tell(Stop()) == [Drain(1, patient=False)]
    assert told.tell(Stop(), after=2.1) == [Kill(1)]
    assert told.tell(Stop(), after=2.1) == []
    assert told.tell(Exited(1, "killed by SIGKILL")) == [Finish(0, at_once=True)]


TERM, INT, TYPED = Stop(), Stop(delayed=False), Stop(delayed=False, typed=True)


@pytest.mark.parametrize(
    ("stops", "kills"),
    [
        ([(0, TERM), (0, TERM)], False),
        ([(0, TYPED), (0.1, TERM)], False),
        ([(0, TYPED), (0.4, TYPED)], False),
        ([(0, TYPED), (0.6, TYPED)], True),
        ([(0, TERM), (0.6, TYPED)], True),
        ([(0, TYPED), (0.6, TERM)], False),
        ([(0, INT), (1.9, INT)], False),
        ([(0, INT), (2.1, INT)], True),
        ([(0, TERM), (1.9, TERM), (2.1, TERM)], True),
    ],
)
def test_signals_that_come_together_are_one_wish(stops: list[tuple[float, Stop]], kills: bool) -> None:
    told = ready()
    began = told.now
    for at, stop in stops:
        actions = told.tell(stop, after=began + at - told.now)
    assert (Kill(1) in actions) is kills


def test_a_stop_under_way_for_another_reason_is_not_the_first_wish() -> None:
    told = Told(workers=2, limit_crashes=0)
    told.tell(Ready(1), Ready(2))
    assert told.tell(Exited(1, "exit code 1")) == [Drain(2, patient=False)]
    assert told.tell(Stop(), after=5) == []
    assert told.tell(Stop(), after=2.1) == [Kill(2)]


@pytest.mark.parametrize(("order", "after", "ends"), [(TERM, 0.1, False), (TERM, 2.1, True), (StopNow(), 0.1, True)])
def test_when_nobody_is_left_a_further_wish_ends_what_is_still_told(order: Fact, after: float, ends: bool) -> None:
    told = ready()
    told.tell(TERM)
    assert told.tell(Exited(1, "exit code 0")) == [Finish(0)]
    assert told.tell(order, after=after) == ([Finish(0, at_once=True)] if ends else [])


def test_quit_kills_after_a_second() -> None:
    told = ready()
    assert told.tell(StopNow()) == [Quit(1)]
    assert told.tell(after=1.0) == [Kill(1)]


def test_a_process_that_can_not_be_killed_does_not_keep_us() -> None:
    told = ready()
    told.tell(StopNow())
    told.tell(after=1.0)
    assert told.tell(after=5.0) == [Finish(0, at_once=True)]
    assert told.texts(Level.ERROR) == ["still there 5 s after SIGKILL; given up"]


def test_shutdown_delay_keeps_serving_while_saying_not_ready() -> None:
    told = Told(shutdown_delay=10)
    told.tell(Ready(1))
    assert told.tell(Stop()) == [Unready(1)]
    assert told.tell(Reload(), Resize(+1), after=5) == []
    assert told.tell(after=5) == [Drain(1, patient=False)]


@pytest.mark.parametrize(
    ("orders", "expected"),
    [([Stop(delayed=False)], Drain(1, patient=False)), ([Stop(), StopNow()], Quit(1)), ([Stop(), Stop()], Kill(1))],
)
def test_shutdown_delay_can_be_cut_short(orders: list[Fact], expected: Action) -> None:
    told = Told(shutdown_delay=10)
    told.tell(Ready(1))
    actions = [action for order in orders for action in told.tell(order, after=3)]
    assert actions[-1] == expected


# --------------------------------------------------------------------------------------------------------------- suspend


def test_a_suspended_machine_kills_nobody_when_it_wakes() -> None:
    told = ready()
    told.beat(after=10)
    # The beat that is read upon waking is an old one, and the next may take its time.
    assert told.tell(Beat(1, told.now + 5), after=3600) == []
    assert told.tell(after=1.9) == []
    assert told.beat() == []
    assert told.phase() is Phase.READY


def test_a_worker_that_beats_again_while_it_is_examined_is_not_killed() -> None:
    told = ready()
    told.tell(after=30)
    assert told.beat(after=0.5) == []
    assert told.phase() is Phase.READY
    assert not [text for text in told.texts() if "hung" in text]


def test_a_stop_refuses_new_connections_at_once_and_a_delayed_one_only_when_it_begins() -> None:
    told = Told(shutdown_delay=5.0)
    told.tell(Ready(1))
    told.tell(Stop())
    assert not told.deaf
    told.tell(after=5.0)
    assert told.deaf


def test_a_reload_goes_on_listening() -> None:
    told = Told()
    told.tell(Ready(1))
    told.tell(Reload())
    told.tell(Ready(2))
    assert not told.deaf
