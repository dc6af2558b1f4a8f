"""What the fleet answers to orders with a ticket: once, and truly."""

from __future__ import annotations

from typing import Any

from support.told import Told
from tricorn.ipc.waits import Waits
from tricorn.supervisor.messages import Action, Answer, Exited, Fact, Failed, Level, Ready, ReopenLogs, SetLevel, Waiting
from tricorn.supervisor.orders import MAX_SIZE, Order, Reload, Reopen, Resize, Restart, SetLogLevel, Stop, StopNow


class Asked(Told):
    """A fleet whose workers are ready, and the answers that came."""

    def __init__(self, workers: int = 1, **options: Any) -> None:
        self.answers: dict[int, Answer] = {}
        super().__init__(workers, **options)
        self.tell(*(Ready(worker) for worker in range(1, workers + 1)))

    def tell(self, *facts: Fact, after: float = 0.0) -> list[Action]:
        actions = super().tell(*facts, after=after)
        for action in actions:
            if isinstance(action, Answer):
                assert action.ticket not in self.answers, "answered twice"
                self.answers[action.ticket] = action
        return [action for action in actions if not isinstance(action, Answer)]

    def code(self, ticket: int) -> int | None:
        return self.answers[ticket].code if ticket in self.answers else None

    def error(self, ticket: int) -> str:
        return str(self.answers[ticket].details.get("error", ""))

    def newest(self) -> int:
        return max(self.fleet.workers)


NOTHING = Waits(0, "", 0.0, 1)


def test_a_reload_is_complete_when_the_old_code_accepts_no_more() -> None:
    told = Asked()
    told.tell(Reload(ticket=1))
    told.tell(Ready(2))
    assert told.code(1) is None, "the old worker may not have read its order yet"
    told.tell(Waiting(1, NOTHING), after=0.5)
    assert told.answers[1] == Answer(1, 0, {"result": "complete", "generation": 1, "seconds": 0.0})


def test_a_reload_is_complete_when_the_old_worker_is_gone() -> None:
    told = Asked()
    told.tell(Reload(ticket=1))
    told.tell(Ready(2))
    told.tell(Exited(1, "exit code 0"))
    assert told.code(1) == 0


def test_an_abandoned_reload_is_told_with_the_applications_error() -> None:
    told = Asked()
    told.tell(Reload(ticket=1))
    told.tell(Failed(2, "no such module"))
    assert (told.code(1), told.error(1)) == (3, "no such module")


def test_a_superseded_reload_succeeds_with_the_other_one() -> None:
    told = Asked()
    told.tell(Reload(ticket=1))
    told.tell(Reload(ticket=2))
    assert not told.answers
    told.tell(Exited(2, "exit code 0"))
    told.tell(Ready(told.newest()))
    told.tell(Exited(1, "exit code 0"))
    assert (told.code(1), told.code(2)) == (0, 0)
    assert told.answers[1].details["generation"] == 2


def test_a_superseded_reload_fails_with_the_other_one() -> None:
    told = Asked()
    told.tell(Reload(ticket=1))
    told.tell(Reload(ticket=2))
    told.tell(Exited(2, "exit code 0"))
    told.tell(Failed(told.newest(), "no such module"))
    assert (told.code(1), told.code(2)) == (3, 3)
    assert told.error(1) == "superseded by another reload (generation 2), which was abandoned: no such module"
    assert told.error(2) == "no such module"


def test_a_broken_configuration_is_told_and_leaves_a_reload_under_way_alone() -> None:
    told = Asked()
    told.tell(Reload(ticket=1))
    told.tell(Reload(ticket=2, broken="--workers many"))
    assert (told.code(2), told.error(2)) == (3, "--workers many")
    assert "Reload abandoned, the configuration is broken: --workers many" in told.texts(Level.ERROR)
    told.tell(Ready(2))
    told.tell(Exited(1, "exit code 0"))
    assert told.code(1) == 0


def test_a_broken_configuration_is_the_last_reload() -> None:
    told = Asked()
    told.tell(Reload(broken="--workers many"))
    last = told.fleet.snapshot().last_reload
    assert last is not None
    assert (last.generation, last.result.value, last.error) == (1, "abandoned", "--workers many")


def test_a_stop_cuts_a_reload_short() -> None:
    told = Asked()
    told.tell(Reload(ticket=1))
    told.tell(Stop(ticket=2))
    assert (told.code(1), told.code(2)) == (3, None)
    last = told.fleet.snapshot().last_reload
    assert last is not None
    assert (last.result.value, last.error) == ("abandoned", "the server stops")
    told.tell(Exited(1, "exit code 0"), Exited(2, "exit code 0"))
    assert told.answers[2] == Answer(2, 0, {"exit_code": 0})


def test_a_reload_that_nobody_can_go_back_from_is_told_when_its_slot_has_to_wait() -> None:
    told = Asked()
    told.tell(Exited(1, "killed by SIGKILL"), Reload(ticket=1))
    for worker in (2, 3):
        assert told.code(1) is None
        told.tell(Failed(worker, "no such module"))
    assert told.code(1) == 3
    assert "no such module" in told.error(1)


def test_with_reload_an_error_that_is_shown_to_clients_is_a_failure() -> None:
    told = Asked(reload=True)
    told.tell(Reload(ticket=1))
    told.tell(Ready(2, error="syntax error"))
    told.tell(Exited(1, "exit code 0"))
    assert (told.code(1), told.error(1)) == (3, "syntax error")


def test_a_resize_waits_for_its_workers() -> None:
    told = Asked()
    told.tell(Resize(+1, ticket=1))
    assert told.code(1) is None
    told.tell(Ready(2))
    assert told.answers[1] == Answer(1, 0, {"wanted": 2, "ready": 2})


def test_a_smaller_size_waits_until_the_others_accept_no_more() -> None:
    told = Asked(workers=2)
    told.tell(Resize(0, to=1, ticket=1))
    assert told.code(1) is None
    told.tell(Exited(2, "exit code 0"))
    assert told.code(1) == 0


def test_a_resize_that_another_one_changes_is_told() -> None:
    told = Asked()
    told.tell(Resize(+1, ticket=1))
    told.tell(Resize(+1, ticket=2))
    assert (told.code(1), told.code(2)) == (3, None)
    assert told.error(1) == "superseded by another order: 3 workers are wanted now"


def test_a_resize_whose_worker_does_not_start_is_told() -> None:
    told = Asked()
    told.tell(Resize(+1, ticket=1))
    told.tell(Failed(2, "no memory"))
    told.tell(Exited(2, "exit code 3"))
    assert told.code(1) is None, "the second try is immediate"
    told.tell(Failed(3, "no memory"))
    told.tell(Exited(3, "exit code 3"))
    assert told.code(1) == 3
    assert told.error(1) == "1 of 2 workers are ready; the start is tried again: no memory"


def test_sizes_and_slots_that_make_no_sense_change_nothing() -> None:
    told = Asked()
    told.tell(Resize(-1, ticket=1), Resize(0, to=MAX_SIZE + 1, ticket=2), Restart(1, ticket=3))
    assert [told.code(ticket) for ticket in (1, 2, 3)] == [2, 2, 2]
    assert all(told.error(ticket) for ticket in (1, 2, 3))
    assert told.fleet.wanted.size == 1


def test_a_restart_has_a_successor_first() -> None:
    told = Asked(workers=2)
    told.tell(Restart(1, ticket=1))
    new = told.newest()
    assert told.fleet.workers[new].slot == 1
    assert told.code(1) is None
    told.tell(Ready(new))
    told.tell(Exited(2, "exit code 0"))
    assert told.answers[1] == Answer(1, 0, {"slot": 1})


def test_a_restart_of_a_slot_that_waits_after_failures_tries_at_once() -> None:
    told = Asked(workers=2)
    for _ in range(6):
        told.tell(Exited(told.newest(), "exit code 1"))
        if told.newest() == 1:
            break
        told.tell(Ready(told.newest()))
    assert told.newest() == 1, "the slot waits"
    told.tell(Restart(1, ticket=1))
    assert told.newest() > 1
    told.tell(Ready(told.newest()))
    assert told.code(1) == 0


def test_what_needs_no_time_is_answered_at_once() -> None:
    told = Asked()
    actions = told.tell(Reopen(ticket=1), SetLogLevel("debug", ticket=2))
    assert actions == [ReopenLogs(ticket=1), SetLevel("debug")], "the host answers the first"
    assert told.code(2) == 0


def test_two_stops_from_the_control_socket_are_one_wish() -> None:
    told = Asked()
    told.tell(Stop(ticket=1))
    told.tell(Stop(ticket=2), after=10.0)
    assert told.texts(Level.WARNING) == []
    told.tell(StopNow(ticket=3))
    assert "Stopping at once" in told.texts(Level.WARNING)
    told.tell(Exited(1, "exit code 0"))
    assert [told.code(ticket) for ticket in (1, 2, 3)] == [0, 0, 0]


def test_orders_after_the_end_are_answered() -> None:
    told = Asked()
    told.tell(StopNow())
    told.tell(Exited(1, "exit code 0"))
    late: list[Order] = [Reload(ticket=1), Resize(+1, ticket=2), Restart(0, ticket=3), Reopen(ticket=4), Stop(ticket=5)]
    told.tell(*late)
    assert [told.code(ticket) for ticket in range(1, 6)] == [3, 3, 3, 3, 0]
