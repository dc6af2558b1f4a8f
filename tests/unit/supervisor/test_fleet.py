"""The fleet's decisions: for every fact in every phase, which actions follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.told import Told
from tricorn.ipc.waits import Waits
from tricorn.supervisor.fleet import Fleet
from tricorn.supervisor.messages import (
    Beat,
    CallOff,
    Drain,
    DrainBySignal,
    Exited,
    Fact,
    Failed,
    Finish,
    Kill,
    Level,
    Quit,
    Ready,
    Recycle,
    ReopenLogs,
    ReportHang,
    Spawn,
    Waiting,
)
from tricorn.supervisor.orders import Reload, Reopen, Resize, Stop, StopNow
from tricorn.supervisor.phases import Phase


def starting() -> Told:
    return Told()


def ready() -> Told:
    told = Told()
    told.tell(Ready(1), after=1)
    return told


def late() -> Told:
    """Worker 1 was not ready in time; its stacks are being written down."""
    told = Told()
    assert told.tell(after=60) == [ReportHang(1)]
    return told


def hung() -> Told:
    told = ready()
    assert told.tell(after=30) == [ReportHang(1)]
    return told


def draining() -> Told:
    """Worker 2 has taken the place of worker 1."""
    told = ready()
    told.tell(Recycle(1, "old"))
    assert told.tell(Ready(2), after=1) == [Drain(1, patient=True)]
    return told


def failed() -> Told:
    """Worker 1 reported that it could not start, after another one had been ready."""
    told = Told(workers=2)
    told.tell(Ready(2), Failed(1, "no module"))
    return told


def killed() -> Told:
    told = hung()
    assert told.tell(after=0.5)[0] == Kill(1)
    return told


ANSWER = Waiting(1, Waits(0, "", 0.0, 1))
"""What worker 1 answers to the order to drain."""
SPAWN = "spawn"
"""Stands for a Spawn of whatever worker."""

TABLE: dict[Callable[[], Told], dict[Fact, tuple[list[Any], Phase | None]]] = {
    starting: {
        Ready(1): ([], Phase.READY),
        Failed(1, "no module"): ([], Phase.FAILED),
        Beat(1, 1.0): ([], Phase.STARTING),
        Exited(1, "exit code 1"): ([Finish(3)], None),
        Recycle(1, "old"): ([SPAWN], Phase.STARTING),
        Reload(): ([CallOff(1, patient=True), SPAWN], Phase.CALLED_OFF),
        Resize(+1): ([SPAWN], Phase.STARTING),
        Resize(-1): ([], Phase.STARTING),
        Reopen(): ([ReopenLogs()], Phase.STARTING),
        Stop(): ([CallOff(1, patient=False)], Phase.CALLED_OFF),
        StopNow(): ([Kill(1)], Phase.KILLED),
    },
    ready: {
        Ready(1): ([], Phase.READY),
        Failed(1, "no module"): ([], Phase.READY),
        Beat(1, 1.0): ([], Phase.READY),
        Exited(1, "exit code 0"): ([SPAWN], None),
        Recycle(1, "old"): ([SPAWN], Phase.READY),
        Reload(): ([SPAWN], Phase.READY),
        Resize(+1): ([SPAWN], Phase.READY),
        Resize(-1): ([], Phase.READY),
        Reopen(): ([ReopenLogs()], Phase.READY),
        Stop(): ([Drain(1, patient=False)], Phase.DRAINING),
        StopNow(): ([Quit(1)], Phase.DRAINING),
    },
    late: {
        Ready(1): ([], Phase.READY),
        Failed(1, "no module"): ([], Phase.FAILED),
        Beat(1, 60.0): ([], Phase.HUNG),
        Exited(1, "exit code 1"): ([Finish(3)], None),
        Recycle(1, "old"): ([SPAWN], Phase.HUNG),
        Reload(): ([SPAWN], Phase.HUNG),
        Resize(+1): ([SPAWN], Phase.HUNG),
        Resize(-1): ([], Phase.HUNG),
        Reopen(): ([ReopenLogs()], Phase.HUNG),
        Stop(): ([], Phase.HUNG),
        StopNow(): ([Kill(1)], Phase.KILLED),
    },
    hung: {
        Ready(1): ([], Phase.HUNG),
        Failed(1, "no module"): ([], Phase.HUNG),
        Beat(1, 31.0): ([], Phase.READY),
        Exited(1, "killed by SIGSEGV"): ([SPAWN], None),
        Recycle(1, "old"): ([SPAWN], Phase.HUNG),
        Reload(): ([SPAWN], Phase.HUNG),
        Resize(+1): ([SPAWN], Phase.HUNG),
        Resize(-1): ([], Phase.HUNG),
        Reopen(): ([ReopenLogs()], Phase.HUNG),
        Stop(): ([], Phase.HUNG),
        StopNow(): ([Kill(1)], Phase.KILLED),
    },
    draining: {
        Ready(1): ([], Phase.DRAINING),
        Failed(1, "no module"): ([], Phase.DRAINING),
        Beat(1, 2.0): ([], Phase.DRAINING),
        Exited(1, "exit code 0"): ([], None),
        Recycle(1, "old"): ([], Phase.DRAINING),
        Reload(): ([SPAWN], Phase.DRAINING),
        Resize(+1): ([SPAWN], Phase.DRAINING),
        Resize(-1): ([], Phase.DRAINING),
        Reopen(): ([ReopenLogs()], Phase.DRAINING),
        Stop(): ([Drain(1, patient=False), Drain(2, patient=False)], Phase.DRAINING),
        StopNow(): ([Quit(1), Quit(2)], Phase.DRAINING),
    },
    failed: {
        Ready(1): ([], Phase.FAILED),
        Failed(1, "no module"): ([], Phase.FAILED),
        Beat(1, 1.0): ([], Phase.FAILED),
        Exited(1, "exit code 3"): ([], None),
        Recycle(1, "old"): ([], Phase.FAILED),
        Reload(): ([CallOff(3, patient=True), SPAWN, SPAWN], Phase.FAILED),
        Resize(+1): ([SPAWN], Phase.FAILED),
        Resize(-1): ([], Phase.FAILED),
        Reopen(): ([ReopenLogs()], Phase.FAILED),
        Stop(): ([Drain(2, patient=False), CallOff(3, patient=False)], Phase.FAILED),
        StopNow(): ([Quit(2), Kill(3)], Phase.FAILED),
    },
    killed: {
        Ready(1): ([], Phase.KILLED),
        Failed(1, "no module"): ([], Phase.KILLED),
        Beat(1, 32.0): ([], Phase.KILLED),
        Exited(1, "killed by SIGKILL"): ([], None),
        Recycle(1, "old"): ([], Phase.KILLED),
        Reload(): ([CallOff(2, patient=True), SPAWN], Phase.KILLED),
        Resize(+1): ([SPAWN], Phase.KILLED),
        Resize(-1): ([], Phase.KILLED),
        Reopen(): ([ReopenLogs()], Phase.KILLED),
        Stop(): ([CallOff(2, patient=False)], Phase.KILLED),
        StopNow(): ([Kill(2)], Phase.KILLED),
    },
}
CASES = [(situation, fact) for situation, rows in TABLE.items() for fact in rows]


@pytest.mark.parametrize(("situation", "fact"), CASES, ids=[f"{name.__name__}-{fact}" for name, fact in CASES])
def test_every_fact_in_every_phase(situation: Callable[[], Told], fact: Fact) -> None:
    told = situation()
    actions = [SPAWN if isinstance(action, Spawn) else action for action in told.tell(fact)]
    assert (actions, told.phase(1)) == TABLE[situation][fact]


DEADLINES: list[tuple[Callable[[], Told], float, list[Any], Phase | None]] = [
    (starting, 60.0, [ReportHang(1)], Phase.HUNG),
    (ready, 30.0, [ReportHang(1)], Phase.HUNG),
    (late, 0.5, [Kill(1)], Phase.KILLED),
    (hung, 0.5, [Kill(1), SPAWN], Phase.KILLED),
    (killed, 5.0, [], None),
    (failed, 1.0, [Kill(1)], Phase.KILLED),
]


@pytest.mark.parametrize(("situation", "lasts", "expected", "then"), DEADLINES)
def test_every_phase_ends_by_its_deadline(
    situation: Callable[[], Told], lasts: float, expected: list[Any], then: Phase | None
) -> None:
    told = situation()
    assert told.tell(after=lasts - 0.001) == []
    actions = [SPAWN if isinstance(action, Spawn) else action for action in told.tell(after=0.001)]
    assert (actions, told.phase(1)) == (expected, then)


def test_a_drain_lasts_as_long_as_the_grace_period_and_the_keep_alive_timeout_allow() -> None:
    for options, lasts in [
        ({"timeout_graceful_shutdown": 30}, 32.0),
        ({"timeout_graceful_shutdown": 1, "timeout_keep_alive": 5}, 8.0),
    ]:
        told = Told(**options)
        told.tell(Ready(1))
        told.tell(Recycle(1, "old"))
        assert told.tell(Ready(2)) == [Drain(1, patient=True)]
        told.tell(ANSWER)
        told.beat(after=lasts / 2)
        told.beat(after=lasts / 2 - 0.1)
        assert told.phase(1) is Phase.DRAINING
        assert told.tell(after=0.1) == [ReportHang(1)]
        assert told.tell(after=0.5) == [Kill(1)]


def test_who_does_not_answer_the_order_to_drain_is_told_once_more_by_a_signal() -> None:
    told = ready()
    assert told.tell(Stop()) == [Drain(1, patient=False)]
    assert told.tell(after=1.9) == []
    assert told.tell(after=0.1) == [DrainBySignal(1)]
    assert told.texts(Level.WARNING) == ["does not answer the order to drain; told by a signal as well"]
    assert told.tell(after=29.9) == []
    assert told.tell(after=0.1) == [ReportHang(1)]


@pytest.mark.parametrize("answer", [ANSWER, Exited(1, "exit code 0")])
def test_who_answers_is_not(answer: Fact) -> None:
    told = draining()
    assert told.tell(answer, after=1.9) == []
    assert told.tell(after=0.2) == []
    # Who has answered once reads what it is told.
    told.tell(Stop())
    assert DrainBySignal(1) not in told.tell(after=2)


@pytest.mark.parametrize("begin", [ready, draining])
def test_nor_is_who_could_not_be_heard_during_an_upgrade(begin: Callable[[], Told]) -> None:
    told = begin()
    worker = told.fleet.workers[1]
    told.now = (worker.answer_by or worker.deadline) - 0.1
    state, plans = told.fleet.state(told.now), {0: told.fleet.wanted.plan}
    told.now += 1.0
    told.fleet = Fleet(told.config, jitter=lambda: 0.0)
    told.fleet.restore(state, plans, told.now)
    # Nothing was read yet.
    assert told.tell(after=0.2) == []
    assert told.texts(Level.WARNING) == []


def test_nor_is_who_was_suspended() -> None:
    told = ready()
    told.tell(Stop())
    assert told.tell(after=100) == []
    assert told.tell(ANSWER, after=1) == []
