"""What an upgrade does next, by how the fleet is."""

from __future__ import annotations

import pytest
from tricorn.config.options import Config
from tricorn.errors import ConfigError
from tricorn.supervisor.orders import Reload, Upgrade
from tricorn.supervisor.phases import Plan, Stage
from tricorn.supervisor.snapshot import Snapshot
from tricorn.supervisor.upgrade import state as states
from tricorn.supervisor.upgrade.course import Course, Phase, Step, following

OLD, NEW = Plan(0, Config()), Plan(1, Config())


def look(stage: Stage = Stage.SERVING, is_settled: bool = True) -> Snapshot:
    return Snapshot(stage, (), 1, OLD if is_settled else NEW, OLD, None, is_settled)


def course_in(phase: Phase) -> Course:
    course = Course()
    course.ask(Upgrade())
    course.phase = phase
    return course


@pytest.mark.parametrize(
    ("phase", "snapshot", "is_quiet", "step", "after"),
    [
        (Phase.IDLE, look(), True, Step.NOTHING, Phase.IDLE),
        (Phase.WAITING, look(), False, Step.CHECK, Phase.CHECKING),
        (Phase.WAITING, look(Stage.BOOTING), True, Step.NOTHING, Phase.WAITING),
        (Phase.WAITING, look(is_settled=False), True, Step.NOTHING, Phase.WAITING),
        (Phase.WAITING, look(Stage.STOPPING), True, Step.CALL_OFF, Phase.WAITING),
        (Phase.CHECKING, look(), True, Step.NOTHING, Phase.CHECKING),
        (Phase.CHECKING, look(Stage.LEAVING), True, Step.CALL_OFF, Phase.CHECKING),
        (Phase.CHECKED, look(is_settled=False), True, Step.NOTHING, Phase.CHECKED),
        (Phase.CHECKED, look(), False, Step.NOTHING, Phase.CHECKED),
        (Phase.CHECKED, look(), True, Step.LEAVE, Phase.CHECKED),
        (Phase.CHECKED, look(Stage.QUITTING), True, Step.CALL_OFF, Phase.CHECKED),
    ],
)
def test_the_next_step(phase: Phase, snapshot: Snapshot, is_quiet: bool, step: Step, after: Phase) -> None:
    course = course_in(phase)
    assert course.next(snapshot, is_quiet) is step
    assert course.phase is after


def test_orders_join_an_upgrade_and_the_next_is_a_new_one() -> None:
    course = Course()
    for order in (Upgrade(ticket=1), Upgrade(), Upgrade(reload=True, ticket=2)):
        course.ask(order)
    assert following(course.orders) == ([1], [Reload(ticket=2)])
    assert course.end() == [1, 2]
    assert course.phase is Phase.IDLE
    course.ask(Upgrade(ticket=3))
    assert (course.phase, course.end()) == (Phase.WAITING, [3])


def heading(**changes: object) -> dict[str, object]:
    contract = states.contract()
    return {**states.heading(), "contract": {**contract, **changes}}


def test_our_own_state_is_understood() -> None:
    states.check(heading())


def test_an_unknown_schema_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"whose state has version {states.SCHEMA + 1} and not {states.SCHEMA}"):
        states.check({**heading(), "schema": states.SCHEMA + 1})


def test_a_column_may_be_missing_on_the_right_and_none_may_differ() -> None:
    columns = states.contract()["scoreboard"]
    states.check(heading(scoreboard=columns[:-1]))
    with pytest.raises(ConfigError, match="their scoreboard differs"):
        states.check(heading(scoreboard=[*columns[:-1], "OTHER"]))
    with pytest.raises(ConfigError, match="their counts differs"):
        states.check(heading(counts=states.contract()["counts"][:-1]))


def test_what_old_workers_say_must_be_understood_and_what_they_hear_too() -> None:
    says, hears = states.contract()["says"], states.contract()["hears"]
    states.check(heading(says={kind: said for kind, said in says.items() if kind != "alive"}))
    states.check(heading(hears={**hears, "dance": [[], []]}))
    for changes in (
        {"says": {**says, "sings": [[], []]}},
        {"says": {**says, "alive": [[], ["loudly"]]}},
        {"says": {**says, "retire": [[], []]}},
        {"hears": {kind: heard for kind, heard in hears.items() if kind != "drain"}},
        {"hears": {**hears, "probe": [["why"], ["why"]]}},
    ):
        with pytest.raises(ConfigError, match="differs; restart the server instead"):
            states.check(heading(**changes))


def test_a_configuration_comes_back_without_options_that_are_no_more() -> None:
    config = Config(app="a:b", workers=3, bind=("127.0.0.1:80", "unix:/x"))
    state = states.config_state(config)
    assert states.restored_config({**state, "bind": [*config.bind], "of_the_past": 1}) == config
