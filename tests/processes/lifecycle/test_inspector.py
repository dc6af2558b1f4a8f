"""What workers are doing: told by their event loop if it turns, else by a signal; and nothing of it waits."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.harness import APPS, wait_until
from tricorn.config.options import Config
from tricorn.supervisor.control.workers import Workers
from tricorn.supervisor.host import Host
from tricorn.supervisor.inspector import MAX_WAITING, Inspected
from tricorn.supervisor.messages import Fact, Kill, Ready, ReportHang, Spawn

SECRET = "secret-token"
STUCK = APPS / "stuck.py"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def line_of(code: str) -> int:
    """The number of the line of ``stuck.py`` that has ``code``."""
    return next(number for number, line in enumerate(STUCK.read_text().splitlines(), 1) if code in line)


class Fleet:
    """A host with real workers of the application ``stuck``."""

    def __init__(self, host: Host, port: int) -> None:
        self.host = host
        self.port = port
        self.clients: list[socket.socket] = []
        self.facts: list[Fact] = []

    def turn(self) -> None:
        self.facts += self.host.wait(self.host.now() + 0.01)

    def start(self, slot: int) -> None:
        self.host.perform(Spawn(slot, slot, 0, Config(app="stuck:app", app_dir=str(APPS), access_log=False)))
        wait_until(lambda: self.turn() or any(isinstance(fact, Ready) and fact.worker == slot for fact in self.facts))

    def ask(self, target: str, headers: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.sendall(
            b"GET " + target.encode() + b" HTTP/1.1\r\nHost: a\r\nCookie: " + SECRET.encode() + b"\r\n" + headers + b"\r\n"
        )
        self.clients.append(client)
        return client

    def inspect(self, slot: int | None = None, stacks: bool = True) -> list[Inspected]:
        answers: list[list[Inspected]] = []
        workers = {child.worker for child in self.host.children.values() if slot in (None, child.slot)}
        assert Workers(self.host).inspect(workers, stacks, answers.append)
        wait_until(lambda: self.turn() or bool(answers))
        assert len(answers) == 1
        return answers[0]

    def inspect_until(self, text: str, stacks: bool = True) -> Inspected:
        """Until the report has ``text``: the request may not have arrived yet."""
        found: list[Inspected] = []

        def has_it() -> bool:
            found[:] = [one for one in self.inspect(stacks=stacks) if text in one.report.text]
            return bool(found)

        wait_until(has_it, what=text)
        return found[0]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setblocking(False)
        with Host((listener,)) as host:
            fleet = Fleet(host, listener.getsockname()[1])
            fleet.start(0)
            yield fleet
            for client in fleet.clients:
                client.close()
            for child in list(host.children.values()):
                host.perform(Kill(child.worker))
            wait_until(lambda: fleet.turn() or not host.children)


def test_a_worker_whose_loop_turns_tells_its_requests_threads_and_tasks(fleet: Fleet) -> None:
    client = fleet.ask(f"/wait?token={SECRET}")
    fleet.ask("/thread")
    fleet.inspect_until("a thread of ours")
    found = fleet.inspect_until("in wait")
    report = found.report
    assert report.loop_turns
    assert report.line == ""
    assert "Thread 'MainThread' runs the event loop." in report.text
    assert f'stuck.py", line {line_of("time.sleep(")}, in block' in report.text
    assert f'stuck.py", line {line_of("asyncio.sleep(")}, in wait' in report.text
    assert SECRET not in report.text
    request = next(request for request in report.requests if request.path == "/wait")
    assert request.method == "GET"
    assert request.client == "{}:{}".format(*client.getsockname())
    assert 0 <= request.age < 60


def test_a_blocked_worker_is_made_to_tell_by_a_signal(fleet: Fleet) -> None:
    fleet.ask(f"/sleep?token={SECRET}")
    found = fleet.inspect_until("in block")
    report = found.report
    assert not report.loop_turns
    assert report.line == f"{STUCK}:{line_of('time.sleep(')} block"
    assert [(request.method, request.path) for request in report.requests] == [("GET", "/sleep")]
    assert SECRET not in report.text
    # It goes on sleeping, and answers the next question as well.
    assert fleet.inspect()[0].report.line == report.line


def test_requests_alone_come_without_stacks(fleet: Fleet) -> None:
    fleet.ask("/wait")
    report = fleet.inspect_until("/wait", stacks=False).report
    assert report.loop_turns
    assert "stuck.py" not in report.text


def test_a_websocket_is_in_flight(fleet: Fleet) -> None:
    client = fleet.ask("/socket?a=1", UPGRADE)
    report = fleet.inspect_until("/socket").report
    assert [(one.method, one.path, one.client) for one in report.requests] == [
        ("WebSocket", "/socket", "{}:{}".format(*client.getsockname()))
    ]


def test_a_stopped_process_is_named_as_such_and_the_others_answer(fleet: Fleet) -> None:
    fleet.start(1)
    stopped = fleet.host.children[0].pid
    os.kill(stopped, signal.SIGSTOP)
    try:
        first, second = fleet.inspect()
        assert (first.pid, first.report.text) == (stopped, "No answer: it is stopped by a signal.")
        assert second.report.loop_turns
    finally:
        os.kill(stopped, signal.SIGCONT)
    # What it was asked while it was stopped is answered now, and is no answer to the next question.
    wait_until(lambda: fleet.inspect()[0].report.loop_turns)


def test_one_worker_is_asked_alone(fleet: Fleet) -> None:
    fleet.start(1)
    assert [(one.worker, one.slot) for one in fleet.inspect(1)] == [(1, 1)]


def test_a_worker_that_dies_meanwhile_is_left_out(fleet: Fleet) -> None:
    answers: list[list[Inspected]] = []
    assert Workers(fleet.host).inspect({0}, True, answers.append)
    os.kill(fleet.host.children[0].pid, signal.SIGKILL)
    wait_until(lambda: fleet.turn() or bool(answers))
    assert [one.slot for one in answers[0]] in ([], [0])
    assert fleet.inspect() == []


def test_many_questions_at_once_are_all_answered_once(fleet: Fleet) -> None:
    fleet.ask("/sleep")
    fleet.inspect_until("in block")
    answers: list[bool] = []
    for number in range(20):
        Workers(fleet.host).inspect({0} if number % 2 else {0, 7}, bool(number % 3), lambda found: answers.append(bool(found)))
    wait_until(lambda: fleet.turn() or len(answers) == 20)
    fleet.turn()
    assert answers == [True] * 20


def test_who_asks_without_end_is_refused(fleet: Fleet) -> None:
    answers: list[list[Inspected]] = []
    asked = [Workers(fleet.host).inspect({0}, True, answers.append) for _ in range(1000)]
    assert asked.count(True) == MAX_WAITING
    wait_until(lambda: fleet.turn() or len(answers) == MAX_WAITING)


def test_a_hang_report_under_way_is_shown_and_not_spoilt(fleet: Fleet) -> None:
    fleet.ask("/sleep")
    fleet.inspect_until("in block")
    fleet.host.perform(ReportHang(0))
    assert "in block" in fleet.inspect()[0].report.text
    assert fleet.host.children[0].read_hang_report().count("Current thread") == 1


def test_a_worker_whose_interpreter_is_held_shows_its_line_but_no_requests(fleet: Fleet) -> None:
    fleet.ask("/hold")
    report = fleet.inspect_until("in hold").report
    assert report.line == f"{STUCK}:{line_of('sum(')} hold"
    assert report.requests == ()
