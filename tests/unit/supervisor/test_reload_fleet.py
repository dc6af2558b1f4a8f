"""What the fleet decides with --reload: new code matters more than old workers."""

from __future__ import annotations

from support.told import Told
from tricorn.config.options import Config, configure
from tricorn.supervisor.messages import CallOff, Drain, Exited, Failed, Level, Ready, Recycle, Say
from tricorn.supervisor.orders import Reload, Stop
from tricorn.supervisor.phases import Phase

SAVED = Reload(changed=("main.py",), since=9.95)


def serving(workers: int = 1) -> Told:
    told = Told(workers=workers, reload=True)
    told.tell(*(Ready(worker + 1) for worker in range(workers)), after=10)
    return told


def test_a_save_drains_the_old_at_once_and_fills_their_slots() -> None:
    told = serving(workers=2)
    leave = [Drain(worker, patient=False, hand_off=True) for worker in (1, 2)]
    assert told.tell(SAVED) == [*leave, told.spawn(3, slot=0, generation=1), told.spawn(4, slot=1, generation=1)]
    assert told.tell(Ready(3), Exited(1, "exit code 0"), after=0.05) == []
    assert told.tell(Ready(4), Exited(2, "exit code 0"), after=0.05) == []
    assert [say for say in told.said if say.worker != 1 and say.worker != 2] == [
        Say(Level.DEBUG, "main.py changed: reloading"),
        Say(Level.INFO, "main.py: reloaded in 100 ms"),
        Say(Level.DEBUG, "serves the new code", 3),
        Say(Level.DEBUG, "serves the new code", 4),
    ]
    assert [say.level for say in told.said if say.text.startswith("drained")] == [Level.DEBUG, Level.DEBUG]


def test_an_order_to_reload_is_said_for_each_worker() -> None:
    told = serving(workers=2)
    told.tell(Reload())
    told.tell(Ready(3), Ready(4), after=0.1)
    assert told.texts()[-3:] == ["Reload: replacing 2 workers", "reloaded in 100 ms", "reloaded in 100 ms"]


def test_many_files_are_said_shortly() -> None:
    told = serving()
    told.tell(Reload(changed=("a.py", "b.py", "c.py", "d.py", "e.py"), since=10))
    told.tell(Ready(2), after=0.2)
    assert "a.py, b.py, c.py and 2 more: reloaded in 200 ms" in told.texts()


def test_a_second_save_calls_off_who_was_about_to_serve_the_first() -> None:
    told = serving()
    told.tell(SAVED)
    assert told.tell(SAVED) == [CallOff(2, patient=False, hand_off=True), told.spawn(3, generation=2)]


def test_a_save_during_the_first_start_begins_it_anew() -> None:
    told = Told(reload=True)
    assert told.tell(SAVED) == [CallOff(1, patient=False, hand_off=True), told.spawn(2, generation=1)]
    assert told.tell(Ready(2), Exited(1, "exit code 0"), after=1) == []


def test_a_worker_that_shows_an_error_serves_until_the_next_save() -> None:
    told = serving(workers=2)
    told.tell(SAVED)
    assert told.tell(Ready(3, "SyntaxError"), Ready(4, "SyntaxError")) == []
    assert told.texts(Level.ERROR) == ["SyntaxError"]
    assert told.texts(Level.WARNING).count("shows this error to every client, until a file is saved") == 2
    assert told.tell(Exited(1, "exit code 0"), Exited(2, "exit code 0"), after=3600) == []
    actions = told.tell(SAVED)
    assert actions[:2] == [Drain(worker, patient=False, hand_off=True) for worker in (3, 4)]
    assert told.tell(Ready(5), Ready(6)) == []


def test_the_same_error_is_told_again_after_the_next_save() -> None:
    told = serving()
    told.tell(SAVED)
    told.tell(Ready(2, "SyntaxError"))
    told.tell(SAVED)
    told.tell(Ready(3, "SyntaxError"))
    assert told.texts(Level.ERROR) == ["SyntaxError"] * 2


def test_an_error_at_the_first_start_is_no_reason_to_give_up() -> None:
    told = Told(reload=True)
    assert told.tell(Ready(1, "SyntaxError")) == []
    assert told.phase(1) is Phase.READY
    assert told.tell(SAVED) == [Drain(1, patient=False, hand_off=True), told.spawn(2, generation=1)]


def test_a_worker_that_can_not_even_show_the_error_is_tried_again_ever_more_slowly() -> None:
    told = serving()
    told.tell(SAVED)
    told.tell(Exited(1, "exit code 0"))
    assert told.tell(Failed(2, "killed"), Exited(2, "exit code 1")) == [told.spawn(3, generation=1)]
    assert told.tell(Exited(3, "exit code 1")) == []
    assert told.tell(after=0.1) == [told.spawn(4, generation=1)]
    # The next save does not wait for that.
    told.tell(Exited(4, "exit code 1"))
    assert told.tell(SAVED) == [told.spawn(5, generation=2)]


def test_recycling_is_gentle_as_ever() -> None:
    told = serving()
    assert told.tell(Recycle(1, "old")) == [told.spawn(2)]
    assert told.tell(Ready(2)) == [Drain(1, patient=True)]


def test_a_stop_in_the_middle_drains_who_is_ready() -> None:
    told = serving()
    told.tell(SAVED)
    assert told.tell(Stop(delayed=False)) == [Drain(1, patient=False), CallOff(2, patient=False)]


def test_a_crash_after_a_reload_is_no_reload() -> None:
    told = serving()
    told.tell(SAVED)
    told.tell(Ready(2), Exited(1, "exit code 0"))
    assert told.tell(Exited(2, "killed by SIGSEGV")) == [told.spawn(3, generation=1)]
    told.tell(Ready(3), after=0.2)
    assert told.texts()[-1] == "ready in 200 ms"


def test_defaults_for_development_give_way_to_what_is_given() -> None:
    assert configure(app="a:b") == Config(app="a:b")
    assert configure(app="a:b", reload=True).timeout_graceful_shutdown == 1
    assert configure(app="a:b", reload=True, timeout_graceful_shutdown=7).timeout_graceful_shutdown == 7
    assert configure(app="a:b", reload=True).timeout_worker_healthcheck == 86400
