"""Why workers ended, and how reloads did: each is counted once, by what led to it."""

from __future__ import annotations

import pytest
from support.told import Told
from tricorn.config.options import Config
from tricorn.supervisor.messages import Deaf, Exited, Fact, Failed, Ready, Recycle
from tricorn.supervisor.orders import Reload, Resize, Stop, StopNow


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([Exited(1, "killed by SIGSEGV")], "crash"),
        ([Exited(1, "killed by SIGKILL (out of memory: the cgroup's memory limit was reached)")], "oom"),
        ([Deaf(1), Exited(1, "killed by SIGKILL")], "crash"),
        ([Recycle(1, "--limit-max-requests 3 reached"), Ready(3), Exited(1, "exit code 0")], "requests"),
        ([Recycle(1, "--limit-max-lifetime 3 s reached"), Ready(3), Exited(1, "exit code 0")], "lifetime"),
        ([Recycle(1, "uses 9 MiB, more than --limit-max-rss 8 MiB"), Ready(3), Exited(1, "exit code 0")], "memory"),
        ([Recycle(1, "it got SIGTERM"), Ready(3), Exited(1, "exit code 0")], "reload"),
        ([Recycle(1, "--limit-max-requests 3 reached"), Exited(1, "killed by SIGSEGV")], "crash"),
        ([Reload(), Ready(3), Exited(1, "exit code 0")], "reload"),
        ([Reload(), Ready(3), Ready(4), Exited(2, "exit code 0")], "reload"),
        ([Resize(-1), Exited(2, "exit code 0")], "resize"),
        ([Resize(1), Resize(-1), Exited(3, "exit code 0")], "resize"),
        ([Stop(), Exited(1, "exit code 0")], "stop"),
        ([Stop(), Exited(1, "killed by SIGSEGV")], "stop"),
        ([StopNow(), Exited(1, "exit code 0")], "stop"),
        ([Reload(), Failed(3, "broken"), Exited(3, "exit code 3")], "startup"),
        ([Reload(), Exited(3, "exit code 1")], "startup"),
    ],
)
def test_an_exit_is_counted_by_what_led_to_it(steps: list[Fact], reason: str) -> None:
    told = Told(workers=2)
    told.tell(Ready(1), Ready(2), after=1)
    for step in steps:
        told.tell(step, after=0.5)
    assert told.fleet.snapshot().exits == ((reason, 1),)


def test_a_hang_and_a_start_that_takes_too_long() -> None:
    told = Told(workers=2, timeout_worker_healthcheck=10, timeout_worker_startup=20)
    told.tell(Ready(1), after=1)
    told.tell(after=10.0)
    told.tell(after=0.6)
    told.tell(Exited(1, "killed by SIGKILL"))
    assert told.fleet.snapshot().exits == (("hang", 1),)
    told.tell(Ready(3))
    told.beat(after=8.5)
    told.tell(after=0.6)
    told.tell(Exited(2, "killed by SIGKILL"))
    assert told.fleet.snapshot().exits == (("hang", 1), ("startup", 1))


def test_a_worker_that_nothing_can_kill_is_counted_once() -> None:
    told = Told()
    told.tell(Ready(1), after=1)
    told.tell(Deaf(1))
    told.tell(after=5.0)
    told.tell(Exited(1, "killed by SIGKILL"))
    assert told.fleet.snapshot().exits == (("crash", 1),)


def test_reloads_are_counted_by_result() -> None:
    told = Told()
    told.tell(Ready(1), after=1)
    told.tell(Reload(), after=1)
    assert told.fleet.snapshot().reloads == ()
    told.tell(Ready(2))
    assert told.fleet.snapshot().reloads == (("complete", 1),)
    told.tell(Reload(Config(app="broken:app")), after=1)
    told.tell(Failed(3, "broken"))
    assert told.fleet.snapshot().reloads == (("abandoned", 1), ("complete", 1))
