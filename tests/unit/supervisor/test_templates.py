"""When there is a template, who waits for it, and what is done when it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.told import Told
from tricorn.supervisor.messages import (
    Asked,
    Beat,
    CallOff,
    EndTemplate,
    Exited,
    Fact,
    Failed,
    Finish,
    Forked,
    GiveUp,
    NotForked,
    Ready,
    Spawn,
    StartTemplate,
    TemplateGone,
    TemplateLost,
    TemplateReady,
)
from tricorn.supervisor.orders import Reload, Stop, StopNow
from tricorn.supervisor.phases import ASKING, Phase
from tricorn.supervisor.templates import MAX_FAILED, TemplatePhase


def starting(workers: int = 1, **options: Any) -> Told:
    return Told(workers, **{"preload": "app", "timeout_worker_startup": 10, **options})


def serving(workers: int = 1) -> Told:
    told = starting(workers)
    told.tell(TemplateReady(1, True), after=1)
    for worker in range(1, workers + 1):
        told.tell(Forked(worker))
        told.tell(Ready(worker))
    return told


def spawned(actions: Sequence[object]) -> list[tuple[int, int | None]]:
    """The generation and the template of each worker that is forked."""
    return [(action.generation, action.template) for action in actions if isinstance(action, Spawn)]


def test_workers_wait_for_the_first_template_and_are_forked_from_it() -> None:
    told = starting(2)
    assert not told.fleet.workers
    assert told.fleet.templates.all[1].phase is TemplatePhase.STARTING
    assert spawned(told.tell(TemplateReady(1, True), after=1)) == [(0, 1), (0, 1)]


@pytest.mark.parametrize(
    "fact", [TemplateGone(1, "killed by SIGSEGV"), TemplateLost(1, "wrote rubbish; killed"), None], ids=["gone", "lost", "late"]
)
def test_without_the_first_template_workers_import_everything_themselves(fact: Fact | None) -> None:
    told = starting(2)
    facts = [] if fact is None else [fact]
    assert spawned(told.tell(*facts, after=1 if facts else 10)) == [(0, None), (0, None)]
    assert any("until then workers import all themselves" in text for text in told.texts())


def test_one_that_has_learned_something_is_followed_by_another_and_workers_wait_on() -> None:
    told = starting()
    assert told.tell(TemplateGone(1, "exit code 0", is_excused=True), after=1) == [StartTemplate(2, 0, told.config)]
    assert spawned(told.tell(TemplateReady(2, False), after=1)) == [(0, 2)]


def test_all_of_them_together_are_not_waited_for_longer_than_a_start_takes() -> None:
    told = starting()
    told.tell(TemplateGone(1, "exit code 0", is_excused=True), after=9)
    assert spawned(told.tell(after=1)) == [(0, None)]


def test_one_that_is_killed_is_made_anew_while_a_crashed_worker_does_not_wait() -> None:
    told = serving()
    assert told.tell(TemplateGone(1, "killed by SIGKILL"), after=1) == [StartTemplate(2, 0, told.config)]
    assert spawned(told.tell(Exited(1, "killed by SIGKILL"))) == [(0, None)]
    told.tell(TemplateReady(2, True), Ready(2), after=1)
    assert spawned(told.tell(Exited(2, "killed by SIGKILL"), after=70)) == [(0, 2)]


def test_one_that_does_not_fork_is_killed_and_nothing_is_counted_against_the_worker() -> None:
    told = serving()
    assert spawned(told.tell(Exited(1, "killed by SIGKILL"), after=1)) == [(0, 1)]
    actions = told.tell(NotForked(2), TemplateLost(1, "forks no worker; killed"))
    assert EndTemplate(1) in actions
    assert StartTemplate(2, 0, told.config) in actions
    assert spawned(actions) == [(0, None)]
    assert told.fleet.snapshot().workers[0].restarts == 1, "the crash alone"


def test_templates_that_fail_again_and_again_are_given_up() -> None:
    told = starting()
    for template in range(1, MAX_FAILED + 1):
        told.tell(TemplateGone(template, "killed by SIGSEGV"), after=0.5)
        told.tell(after=0.5)
    assert "--preload is given up" in told.texts()[-1]
    told.tell(Ready(1))
    told.beat(after=5)
    assert not told.fleet.templates.all
    # The next generation tries again.
    assert StartTemplate(MAX_FAILED + 1, 1, told.config) in told.tell(Reload())


def test_a_reload_makes_a_template_and_ends_the_old_one_when_it_is_complete() -> None:
    told = serving()
    assert told.tell(Reload(), after=1) == [StartTemplate(2, 1, told.config)]
    assert spawned(told.tell(TemplateReady(2, True), after=1)) == [(1, 2)]
    told.tell(Forked(2))
    actions = told.tell(Ready(2), after=1)
    assert EndTemplate(1) in actions
    assert EndTemplate(2) not in actions


def test_after_a_reload_that_was_abandoned_the_old_template_forks() -> None:
    told = serving()
    told.tell(Reload(), after=1)
    told.tell(TemplateReady(2, True), after=1)
    told.tell(Forked(2))
    assert EndTemplate(2) in told.tell(Failed(2, "no such module"))
    assert "replaced by its template, with the code that it has" in told.texts()[-1]
    assert spawned(told.tell(Exited(1, "killed by SIGKILL"), Exited(2, "exit code 3"))) == [(0, 1)]


def test_a_stop_ends_templates() -> None:
    told = serving()
    told.tell(Reload(), after=1)
    actions = told.tell(Stop())
    assert {EndTemplate(1), EndTemplate(2)} <= {action for action in actions if isinstance(action, EndTemplate)}
    assert Finish(0) in told.tell(Exited(1, "exit code 0"))


def test_a_stop_while_the_first_is_awaited_ends_at_once() -> None:
    told = starting()
    assert told.tell(Stop(), after=1)[-1] == EndTemplate(1)


def test_surge_zero_drains_nobody_before_there_is_a_template() -> None:
    told = starting(surge=0)
    told.tell(TemplateReady(1, True), after=1)
    told.tell(Forked(1))
    told.tell(Ready(1), Beat(1, told.now))
    assert told.tell(Reload()) == [StartTemplate(2, 1, told.config)]


# -------------------------------------------------------------------------------------------------------- while it is asked for


def asked() -> Told:
    """A worker has crashed, and the template was asked for its successor, whose id is 2."""
    told = serving()
    assert spawned(told.tell(Exited(1, "killed by SIGKILL"), after=1)) == [(0, 1)]
    assert told.phase(2) is Phase.ASKED
    return told


def test_one_that_does_not_answer_is_killed_and_the_worker_forked_without_it() -> None:
    told = asked()
    assert told.fleet.next_deadline() == told.now + ASKING
    actions = told.tell(after=ASKING)
    assert actions[:2] == [GiveUp(2, is_late=True), EndTemplate(1)]
    assert spawned(actions) == [(0, None)]
    assert StartTemplate(2, 0, told.config) in actions
    assert told.phase(3) is Phase.STARTING
    assert told.fleet.snapshot().workers[0].restarts == 1, "the crash alone"
    assert not told.tell(TemplateGone(1, "killed by SIGKILL"), Forked(2), NotForked(2)), "too late to mean anything"


def test_a_template_has_its_time_for_each_of_the_workers_it_was_asked_for() -> None:
    told = starting(3)
    told.tell(TemplateReady(1, True), after=1)
    for worker in (1, 2, 3):
        assert not told.tell(Forked(worker), after=0.9 * ASKING)
    assert {phase for _, phase in told.phases()} == {Phase.STARTING}


def test_the_time_to_start_counts_from_the_fork() -> None:
    told = asked()
    told.tell(Forked(2), after=0.5)
    assert told.fleet.next_deadline() == told.now + told.config.timeout_worker_startup


@pytest.mark.parametrize("late", [Forked(2), NotForked(2)])
def test_a_stop_meanwhile_ends_when_it_is_known_whether_there_is_a_worker(late: Fact) -> None:
    told = asked()
    assert EndTemplate(1) in told.tell(Stop())
    actions = told.tell(TemplateGone(1, "killed by SIGKILL"), late)
    if late == Forked(2):
        assert actions == [CallOff(2, patient=False)]
        actions = told.tell(Exited(2, "exit code 0"))
    assert Finish(0) in actions


def test_a_stop_at_once_does_not_wait_for_that() -> None:
    told = asked()
    actions = told.tell(StopNow())
    assert GiveUp(2) in actions
    assert Finish(0, at_once=True) in actions


def test_a_reload_meanwhile_calls_the_worker_off_once_it_is_there() -> None:
    told = asked()
    assert told.tell(Reload()) == [StartTemplate(2, 1, told.config)]
    assert told.tell(Forked(2)) == [CallOff(2, patient=True)]


def test_an_upgrade_meanwhile_takes_over_an_empty_slot() -> None:
    told = asked()
    assert told.fleet.state(told.now)["workers"] == []


def test_with_reload_the_host_says_that_it_asks() -> None:
    told = Told(1, reload=True)
    told.tell(Asked(1))
    assert told.phase() is Phase.ASKED
    actions = told.tell(after=ASKING)
    assert actions == [GiveUp(1, is_late=True), told.spawn(2)]


@pytest.mark.parametrize("options", [{"preload": "off"}, {"preload": "app", "reload": True}])
def test_without_the_option_there_is_none(options: dict[str, Any]) -> None:
    told = Told(1, **options)
    assert told.fleet.workers
    assert not told.fleet.templates.all
