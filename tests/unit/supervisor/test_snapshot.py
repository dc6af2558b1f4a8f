"""What the fleet shows of itself."""

from __future__ import annotations

from support.told import Told
from tricorn.config.options import Config
from tricorn.supervisor.messages import Exited, Failed, Ready
from tricorn.supervisor.orders import Reload, Resize, Stop
from tricorn.supervisor.phases import Phase, Stage
from tricorn.supervisor.snapshot import LastReload, Result, WorkerSnapshot


def test_a_fleet_that_starts() -> None:
    told = Told(workers=2)
    told.tell(Ready(2), after=1)
    shown = told.fleet.snapshot()
    assert shown.workers == (
        WorkerSnapshot(slot=0, id=1, phase=Phase.STARTING, generation=0, since=0.0, restarts=0),
        WorkerSnapshot(slot=1, id=2, phase=Phase.READY, generation=0, since=0.0, restarts=0),
    )
    assert (shown.stage, shown.wanted, shown.ready, shown.generation) == (Stage.SERVING, 2, 1, 0)
    assert (shown.is_complete, shown.last_reload) == (False, None)
    told.tell(Ready(1))
    assert told.fleet.snapshot().is_complete


def test_it_is_the_same_while_nothing_changes() -> None:
    told = Told()
    told.tell(Ready(1))
    assert told.fleet.snapshot() == told.fleet.snapshot()


def test_restarts_belong_to_the_slot() -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2), after=1)
    told.tell(Exited(1, "killed by SIGSEGV"), after=1)
    told.tell(Ready(3), after=1)
    told.tell(Exited(3, "killed by SIGSEGV"), after=70)
    assert [(worker.slot, worker.restarts) for worker in told.fleet.snapshot().workers if worker.slot == 0] == [(0, 2)]
    assert [worker.restarts for worker in told.fleet.snapshot().workers if worker.slot == 1] == [0]


def test_a_reload_is_shown_from_its_order_to_its_end() -> None:
    told = Told()
    told.tell(Ready(1), after=1)
    told.tell(Reload(), after=1)
    shown = told.fleet.snapshot()
    assert shown.last_reload == LastReload(generation=1, began=2.0)
    assert (shown.generation, shown.settled.generation, shown.is_complete) == (1, 0, False)
    told.tell(Ready(2), after=1)
    told.tell(Exited(1, "exit code 0"), after=1)
    shown = told.fleet.snapshot()
    assert shown.last_reload == LastReload(generation=1, began=2.0, ended=3.0, result=Result.COMPLETE)
    assert (shown.generation, shown.settled.generation, shown.is_complete) == (1, 1, True)


def test_a_reload_that_fails_says_why() -> None:
    told = Told()
    told.tell(Ready(1), after=1)
    told.tell(Reload(Config(app="broken:app")), after=1)
    told.tell(Failed(2, "no module named broken"), after=1)
    shown = told.fleet.snapshot()
    assert shown.last_reload == LastReload(1, began=2.0, ended=3.0, result=Result.ABANDONED, error="no module named broken")
    assert shown.plan is shown.settled
    assert shown.is_complete


def test_a_larger_size_is_complete_only_when_it_is_reached() -> None:
    told = Told()
    told.tell(Ready(1))
    told.tell(Resize(+1))
    assert (told.fleet.snapshot().wanted, told.fleet.snapshot().is_complete) == (2, False)
    told.tell(Ready(2))
    assert told.fleet.snapshot().is_complete


def test_a_stop_is_shown() -> None:
    told = Told()
    told.tell(Ready(1))
    assert told.fleet.snapshot().is_running
    told.tell(Stop(delayed=False))
    assert (told.fleet.snapshot().stage, told.fleet.snapshot().is_running) == (Stage.STOPPING, False)
