"""The host with real processes: what they say, how they end, and that nothing is left behind."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.harness import PATIENCE, wait_until
from tricorn.config.options import Config
from tricorn.ipc import channel
from tricorn.ipc.channel import DRAIN_SIGNAL
from tricorn.ipc.scoreboard import Field
from tricorn.supervisor.child import describe_exit
from tricorn.supervisor.host import Host
from tricorn.supervisor.messages import (
    Beat,
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
    Violated,
)
from tricorn.supervisor.resources import MemorySampler
from tricorn.supervisor.wakeup import ORDERS
from tricorn.worker.main import HANG_REPORT_SIGNAL, Birth

CONFIG = Config(app="a:b")
Main = Callable[[Config, Birth], int]


def say(birth: Birth, kind: str, **details: str) -> None:
    try:
        birth.channel.sendall(channel.encode(kind, **details))
    except BrokenPipeError:
        pass  # It is gone; reading will tell.


def told(birth: Birth) -> list[channel.Message]:
    """What the supervisor says next; nothing if it is gone, reset if it had not read all that we said."""
    birth.channel.setblocking(True)
    try:
        return channel.Decoder(channel.TO_WORKER).feed(birth.channel.recv(4096))
    except ConnectionResetError:
        return []


def obedient(config: Config, birth: Birth) -> int:
    """Stands in for the real worker: ready, one beat, then does what it is told."""
    birth.scoreboard.row(birth.row)[Field.BEAT] = time.monotonic()
    say(birth, channel.READY)
    while messages := told(birth):
        for message in messages:
            if message["kind"] == channel.DRAIN:
                return 10 if message["patient"] else 0
            say(birth, channel.RETIRE, reason=f"told {message['kind']}")
    return 9


class Stage:
    """A host and the facts it told."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.facts: list[Fact] = []

    def start(self, main: Main, workers: int = 1, **options: Any) -> Host:
        self.host = self._stack.enter_context(Host((), main, **options))
        self.perform(*(Spawn(worker, worker - 1, 0, CONFIG) for worker in range(1, workers + 1)))
        return self.host

    def perform(self, *actions: Any) -> None:
        for action in actions:
            self.host.perform(action)

    def hear(self, wanted: Fact | type, count: int = 1) -> list[Any]:
        """Wait until ``count`` facts like this came; returns them, and forgets all that came so far."""

        def found() -> list[Fact]:
            self.facts += self.host.wait(until=time.monotonic() + 0.1)
            like = [fact for fact in self.facts if fact == wanted or (isinstance(wanted, type) and isinstance(fact, wanted))]
            return like if len(like) >= count else []

        facts = wait_until(found, timeout=PATIENCE, what=lambda: f"for {wanted}; came: {self.facts}")
        self.facts = []
        return facts


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        made = Stage(stack)
        yield made
        made.perform(*(Kill(worker) for worker in made.host.children))
        # Several may be told at once.
        wait_until(lambda: made.host.wait(until=time.monotonic() + 0.1) is not None and not made.host.children)


# ----------------------------------------------------------------------------------------------------- what workers say


def test_a_worker_is_ready_beats_and_drains(stage: Stage) -> None:
    stage.start(obedient)
    stage.hear(Beat)
    stage.perform(Unready(1))
    assert stage.hear(Recycle) == [Recycle(1, "told unready")]
    stage.perform(Drain(1, patient=True))
    assert stage.hear(Exited) == [Exited(1, "exit code 10")]


def test_each_beat_is_told_once(stage: Stage) -> None:
    host = stage.start(obedient)
    # It has beaten before it says so; the beat is told with it, if it was not before.
    stage.hear(Ready(1))
    assert host.wait(until=time.monotonic()) == []


def test_what_a_worker_said_before_it_died_comes_first(stage: Stage) -> None:
    def failing(config: Config, birth: Birth) -> int:
        say(birth, channel.FAILED, error="no module named 'x'")
        return 3

    host = stage.start(failing)
    facts: list[Fact] = []
    # Not heard before its exit is, for both are there when the host first looks.
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    wait_until(lambda: facts.extend(host.wait(until=time.monotonic() + 0.1)) or len(facts) >= 2, timeout=PATIENCE)
    assert facts == [Failed(1, "no module named 'x'"), Exited(1, "exit code 3")]


def test_noise_on_the_channel_is_the_workers_fault(stage: Stage) -> None:
    def noisy(config: Config, birth: Birth) -> int:
        birth.channel.sendall(b"\x1b[31mred\n")
        return obedient(config, birth)

    stage.start(noisy)
    stage.hear(Violated(1, r"wrote to the supervisor what is no message: b'\x1b[31mred'"))


# -------------------------------------------------------------------------------------------------------- how they end


@pytest.mark.parametrize(("number", "cause"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGALRM, "killed by SIGALRM")])
def test_a_death_by_signal_is_told_by_name(stage: Stage, number: int, cause: str) -> None:
    def dying(config: Config, birth: Birth) -> int:
        os.kill(os.getpid(), number)
        return 0

    stage.start(dying)
    assert stage.hear(Exited) == [Exited(1, cause)]


@pytest.mark.parametrize(
    ("status", "is_oom", "text"),
    [
        (0, False, "exit code 0"),
        (3 << 8, False, "exit code 3"),
        (signal.SIGSEGV | 0x80, False, "killed by SIGSEGV (core dumped)"),
        (signal.SIGKILL, True, "killed by SIGKILL (out of memory: the cgroup's memory limit was reached)"),
        (signal.SIGTERM, True, "killed by SIGTERM"),
        (40, False, "killed by signal 40"),
    ],
)
def test_an_exit_status_in_words(status: int, is_oom: bool, text: str) -> None:
    assert describe_exit(status, lambda: is_oom) == text


def test_a_bug_in_a_worker_ends_only_that_worker(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    def buggy(config: Config, birth: Birth) -> int:
        raise RuntimeError("our bug")

    stage.start(buggy)
    assert stage.hear(Exited) == [Exited(1, "exit code 70")]
    assert "RuntimeError: our bug" in capfd.readouterr().err


def test_quit_and_kill(stage: Stage) -> None:
    def stubborn(config: Config, birth: Birth) -> int:
        signal.signal(signal.SIGQUIT, lambda number, frame: os._exit(5))
        return obedient(config, birth)

    stage.start(stubborn, workers=2)
    stage.hear(Ready, count=2)
    stage.perform(Quit(1), Kill(2))
    exits = stage.hear(Exited, count=2)
    assert {exit.worker: exit.cause for exit in exits} == {1: "exit code 5", 2: "killed by SIGKILL"}


def test_a_worker_that_closed_its_channel_is_told_to_drain_by_signal(stage: Stage) -> None:
    def deaf(config: Config, birth: Birth) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        say(birth, channel.READY)
        birth.channel.close()
        signal.pause()
        return 0

    host = stage.start(deaf)
    stage.hear(Ready(1))
    # Its end of file is read once and not for ever.
    wait_until(lambda: not host.wait(until=time.monotonic() + 0.01) and not host.wakeup.wait(0)[1], timeout=PATIENCE)
    stage.perform(Drain(1, patient=True))
    assert stage.hear(Exited) == [Exited(1, f"killed by {signal.Signals(DRAIN_SIGNAL).name}")]


def test_orders_for_the_dead_do_nothing(stage: Stage) -> None:
    stage.start(lambda config, birth: 0)
    stage.hear(Exited)
    stage.perform(Drain(1, patient=True), Unready(1), Quit(1), ReportHang(1), Kill(1))


def test_a_worker_that_can_not_be_forked_is_told_as_one_that_died(stage: Stage) -> None:
    host = stage.start(obedient, workers=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # No number above those of the standard streams.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        host.perform(Spawn(1, 0, 0, CONFIG))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert host.wait(until=None) == [Exited(1, "could not be forked: [Errno 24] Too many open files")]
    host.perform(Spawn(2, 0, 0, CONFIG))
    stage.hear(Ready(2))


def test_orphans_that_nobody_started_are_reaped(stage: Stage) -> None:
    host = stage.start(obedient)
    stranger = os.fork()
    if stranger == 0:
        os._exit(0)

    def reaped() -> bool:
        host.wait(until=time.monotonic() + 0.01)
        try:
            os.kill(stranger, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(reaped, timeout=PATIENCE)


# -------------------------------------------------------------------------------------------------- hang report and log


def test_a_hang_report_is_logged_with_the_kill(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def hanging(config: Config, birth: Birth) -> int:
        faulthandler.register(HANG_REPORT_SIGNAL, file=birth.hang_report)
        stuck_for_ever(birth)
        return 0

    def stuck_for_ever(birth: Birth) -> None:
        say(birth, channel.READY)
        while True:
            signal.pause()

    stage.start(hanging)
    stage.hear(Ready(1))
    stage.perform(ReportHang(1))
    wait_until(lambda: "in hanging" in stage.host.children[1].read_hang_report(), timeout=PATIENCE)
    with caplog.at_level(logging.INFO, logger="tricorn.error"):
        stage.perform(Kill(1), Say(Level.WARNING, "hung; killed", 1))
        stage.hear(Exited)
    (stacks, line) = [record.getMessage() for record in caplog.records]
    assert "in stuck_for_ever" in stacks
    assert line.startswith("Worker 0 [")
    assert line.endswith("] hung; killed")


def test_the_hang_report_of_a_worker_too_young_to_answer_does_not_kill_it(stage: Stage) -> None:
    def slow(config: Config, birth: Birth) -> int:
        say(birth, channel.RETIRE, reason="importing")
        told(birth)
        return obedient(config, birth)

    stage.start(slow)
    stage.hear(Recycle)
    stage.perform(ReportHang(1), Unready(1))
    stage.hear(Ready(1))


# ----------------------------------------------------------------------------------------------------------- inheritance


def test_a_worker_inherits_no_signals_and_knows_its_slot(stage: Stage) -> None:
    def curious(config: Config, birth: Birth) -> int:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN):
            os.kill(os.getpid(), number)
        say(birth, channel.RETIRE, reason=f"slot {os.environ['TRICORN_SLOT']}, mask {signal.pthread_sigmask(0, ())}")
        return 0

    stage.start(curious, workers=2)
    reasons = {fact.reason for fact in stage.hear(Recycle, count=2)}
    assert reasons == {"slot 0, mask set()", "slot 1, mask set()"}


def test_the_lifeline_holds_for_every_worker() -> None:
    """The supervisor is killed; each of its workers reads the end of file, for none holds another's channel."""
    reader, writer = os.pipe()

    def mourning(config: Config, birth: Birth) -> int:
        os.write(writer, b"r")
        code = obedient(config, birth)
        os.write(writer, b"%d" % code)
        return code

    supervisor = os.fork()
    if supervisor == 0:
        host = Host((), mourning)
        for worker in (1, 2, 3):
            host.perform(Spawn(worker, worker - 1, 0, CONFIG))
        signal.pause()
        os._exit(0)
    os.close(writer)
    try:
        assert read_exactly(reader, 3) == b"rrr"
    finally:
        os.kill(supervisor, signal.SIGKILL)
        os.waitpid(supervisor, 0)
    assert read_exactly(reader, 3) == b"999"
    os.close(reader)


def read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size and select.select([fd], [], [], PATIENCE)[0] and (piece := os.read(fd, size - len(data))):
        data += piece
    return data


def test_fifty_workers_leave_no_descriptor_and_no_row(stage: Stage) -> None:
    host = stage.start(lambda config, birth: 0, workers=1)
    stage.hear(Exited)
    # Lest what other tests left to the collector be closed meanwhile.
    gc.collect()
    before = sorted(os.listdir("/dev/fd"))
    for worker in range(2, 52):
        host.perform(Spawn(worker, 0, 0, CONFIG))
        stage.hear(Exited)
    assert sorted(os.listdir("/dev/fd")) == before
    assert host.scoreboard.used == 1


# ------------------------------------------------------------------------------------------------------------------ wait


@pytest.mark.parametrize("number", ORDERS, ids=lambda number: signal.Signals(number).name)
def test_every_signal_is_told_as_its_order(stage: Stage, number: int) -> None:
    host = stage.start(obedient, workers=0)
    os.kill(os.getpid(), number)
    assert host.wait(until=time.monotonic() + PATIENCE) == [ORDERS[number]]


def test_signals_come_in_the_order_of_their_arrival(stage: Stage) -> None:
    host = stage.start(obedient, workers=0)
    # TTOU, which is heard only while we wait (see early.BLOCKED), would be the last.
    numbers = [signal.SIGHUP, signal.SIGTTIN, signal.SIGUSR1, signal.SIGTERM]
    for number in numbers:
        os.kill(os.getpid(), number)
    assert host.wait(until=None) == [ORDERS[number] for number in numbers]


def test_waiting_ends_at_its_time_and_beats_wake_nobody(stage: Stage) -> None:
    def beating(config: Config, birth: Birth) -> int:
        say(birth, channel.READY)
        row = birth.scoreboard.row(birth.row)
        while not select.select([birth.channel], [], [], 0.01)[0]:
            row[Field.BEAT] = time.monotonic()
        return 0

    host = stage.start(beating)
    stage.hear(Ready(1))
    until = time.monotonic() + 1
    facts = host.wait(until)
    assert time.monotonic() >= until
    assert [type(fact) for fact in facts] == [Beat]


def test_the_signals_are_given_back(stage: Stage) -> None:
    before = {number: signal.getsignal(number) for number in ORDERS}
    with Host((), obedient):
        assert signal.getsignal(signal.SIGTERM) is not before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in ORDERS} == before
    stage.start(obedient, workers=0)


def test_after_finish_it_waits_no_more(stage: Stage) -> None:
    host = stage.start(obedient, workers=0)
    host.perform(Finish(3))
    assert (host.finished, host.code, host.wait(until=None)) == (True, 3, [])


def test_a_large_worker_is_told_while_the_host_waits(stage: Stage) -> None:
    config = Config(app="a:b", limit_max_rss=1)
    host = stage.start(obedient, workers=0, sampler=MemorySampler(every=0.05))
    host.perform(Spawn(1, 0, 0, config))
    stage.hear(Ready(1))
    facts: list[Fact] = []
    wait_until(lambda: facts.extend(host.wait(until=None)) or facts, timeout=PATIENCE)
    assert "more than --limit-max-rss 1 MiB" in str(facts)
