"""What the upgrader does if something is raised that nobody expected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tricorn.config.options import Config
from tricorn.supervisor.answers import FAILED
from tricorn.supervisor.messages import Action, Answer
from tricorn.supervisor.orders import Upgrade
from tricorn.supervisor.own_descriptors import OwnDescriptors
from tricorn.supervisor.phases import Plan, Stage
from tricorn.supervisor.snapshot import Snapshot
from tricorn.supervisor.upgrade.command import Command, Surroundings
from tricorn.supervisor.upgrade.upgrader import Upgrader

PLAN = Plan(0, Config())
SERVING = Snapshot(Stage.SERVING, (), 1, PLAN, PLAN, None, True)


class Broken:
    """The parts of a supervisor whose state can't be told."""

    def __init__(self) -> None:
        self.done: list[Action] = []
        self.host = SimpleNamespace(now=lambda: 0.0, perform=self.done.append, is_quiet=True)
        self.fleet = SimpleNamespace(stage=Stage.SERVING, wanted=SimpleNamespace(settled=PLAN))
        self.notifier = SimpleNamespace(is_upgrading=False)
        self.config, self.identity, self.app_metrics = Config(), None, None

    def state(self) -> dict[str, Any]:
        raise ZeroDivisionError("a mistake of ours")


def test_a_mistake_of_ours_ends_the_upgrade_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    parts: Any = Broken()
    command = Command("/bin/true", ("true",))
    origin: Any = SimpleNamespace(command=lambda: command, earlier=lambda: command, surroundings=lambda: Surroundings({}, "/"))
    upgrader = Upgrader(parts, origin, OwnDescriptors(), None)
    assert upgrader.take([Upgrade(ticket=7)]) == []
    upgrader.look(SERVING, 0.0)
    (answer,) = parts.done
    assert isinstance(answer, Answer)
    assert (answer.ticket, answer.code) == (7, FAILED)
    assert "a mistake of ours" in answer.details["error"]
    # Our bug is logged with the place where it is.
    assert "Traceback" in caplog.text
    assert "Upgrade refused: ZeroDivisionError" in caplog.text
    # The next one is an upgrade of its own.
    upgrader.take([Upgrade(ticket=8)])
    upgrader.look(SERVING, 0.0)
    assert [one.ticket for one in parts.done] == [7, 8]
