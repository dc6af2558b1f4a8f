"""Restarts that lose nothing and workers that explain themselves: the fleet's promises, under real load."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.editing import APPLICATION
from support.harness import Client, Server, children_of, get, is_alive, pass_time
from support.load import Load

PROBE = "tests.apps.probe:app"

DEPLOYED = "import time\ntime.sleep(0.1)\n" + APPLICATION
"""Its import takes its time: a worker that left before its successor was ready would be missed for long enough to be seen."""


class Deployment:
    """A module on disk that tests write anew, as a deploy does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("one")

    def write(self, version: str) -> None:
        (self.directory / "deployed.py").write_text(DEPLOYED.format(version=version))

    def break_it(self) -> None:
        (self.directory / "deployed.py").write_text("def app(scope, receive, send:\n    pass\n")

    def serve(self, *arguments: str) -> Server:
        return Server("deployed:app", "--app-dir", str(self.directory), "--no-access-log", *arguments)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


@contextmanager
def never_fewer_ready_than(server: Server, count: int) -> Iterator[None]:
    """Watch, all the while, that at least so many workers are ready."""
    shortfalls: list[list[int]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            born = set(children_of(server.pid))
            serving = server.serving()
            # A look takes time. If somebody was born in it, it tells nothing: it may have missed who left, and the successor.
            if len(serving) < count and born.issuperset(children_of(server.pid)):
                shortfalls.append(serving)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    assert not shortfalls, f"only {shortfalls[0]} were ready at some moment:\n{server.log}"


def reload_and_wait(server: Server, timeout: float = 30) -> None:
    before = server.log.lower().count("reload complete")
    server.send(signal.SIGHUP)
    server.wait_for_log("reload complete", count=before + 1, timeout=timeout)


# ---- reload


def test_three_reloads_under_load_lose_nothing(deployment: Deployment) -> None:
    with deployment.serve("--workers", "4") as server:
        server.wait_for_ready(4)
        with never_fewer_ready_than(server, 4), Load(server.port, connections=64) as load:
            for version in ("two", "three", "four"):
                deployment.write(version)
                reload_and_wait(server)
                load.wait_for_more(500)
        assert not load.tally.failures, f"{load.tally}\n{server.log}"
        assert load.tally.resets == 0
        assert set(load.tally.answers) == {"one", "two", "three", "four"}
        assert get(server.port).body == b"four"
        assert server.stop() == 0


def test_idle_connections_survive_a_reload_until_their_next_request(deployment: Deployment) -> None:
    """They pause for longer than the reload takes, but not beyond the keep-alive timeout."""
    with deployment.serve("--workers", "2", "--timeout-keep-alive", "60") as server:
        server.wait_for_ready(2)
        clients = [Client(server.port) for _ in range(8)]
        for client in clients:
            assert client.get().status == 200
        sockets = [client.sock for client in clients]
        deployment.write("two")
        reload_and_wait(server)
        for client, connection in zip(clients, sockets, strict=True):
            assert client.sock is connection, "the connection is the same as before"
            answer = client.get()
            assert (answer.status, answer.body) == (200, b"one")
            assert answer.headers["connection"] == "close"
            client.close()
        server.wait_until(lambda: len(server.workers()) == 2)


def test_a_single_worker_reloads_without_a_gap(deployment: Deployment) -> None:
    with deployment.serve() as server:
        server.wait_for_ready(1)
        with Load(server.port, connections=8) as load:
            deployment.write("two")
            reload_and_wait(server)
            load.wait_for_more(200)
        assert not load.tally.failures, f"{load.tally}\n{server.log}"
        assert set(load.tally.answers) == {"one", "two"}


def test_a_broken_deploy_is_abandoned_and_the_next_one_serves(deployment: Deployment) -> None:
    with deployment.serve("--workers", "2") as server:
        server.wait_for_ready(2)
        before = server.workers()
        with Load(server.port, connections=16) as load:
            deployment.break_it()
            server.send(signal.SIGHUP)
            server.wait_for_log("reload abandoned")
            load.wait_for_more(500)
            server.wait_until(lambda: server.workers() == before, what="those that failed leave")
            assert server.log.count("SyntaxError") == 1
            assert "deployed.py" in server.log
            deployment.write("two")
            reload_and_wait(server)
            load.wait_for_more(200)
        assert not load.tally.failures, f"{load.tally}\n{server.log}"
        assert set(load.tally.answers) == {"one", "two"}
        server.wait_until(lambda: not set(before) & set(server.workers()), what="the first workers leave")


def test_a_stop_in_the_middle_of_a_reload_is_answered() -> None:
    times = []
    # The best of three, as the machine may be busy with others.
    for _ in range(3):
        with Server(PROBE, "--workers", "4") as server:
            server.wait_for_ready(4)
            server.send(signal.SIGHUP)
            server.wait_for_log("reload: replacing")
            begun = time.monotonic()
            server.send(signal.SIGTERM)
            server.wait_for_log("stopping")
            times.append(time.monotonic() - begun)
            assert server.wait_for_exit() == 0
    assert min(times) < 0.5


def test_a_second_reload_supersedes_the_first(deployment: Deployment) -> None:
    with deployment.serve("--workers", "4") as server:
        server.wait_for_ready(4)
        deployment.write("two")
        server.send(signal.SIGHUP)
        server.wait_for_log("ready in", count=5)
        deployment.write("three")
        server.send(signal.SIGHUP)
        server.wait_for_log("reload complete")
        server.wait_until(lambda: {get(server.port).body for _ in range(16)} == {b"three"})
        server.wait_until(lambda: len(server.workers()) == 4)


# ---- recycling


def test_max_requests_under_load_loses_nothing(deployment: Deployment) -> None:
    with deployment.serve("--workers", "4", "--limit-max-requests", "100") as server:
        server.wait_for_ready(4)
        with never_fewer_ready_than(server, 4), Load(server.port, connections=32, limit=5000) as load:
            tally = load.join()
        assert not tally.failures, f"{tally}\n{server.log}"
        assert tally.resets == 0
        assert server.log.count("--limit-max-requests 100 reached") >= 4
        assert server.stop() == 0


def test_a_lifetime_ends_without_a_gap() -> None:
    with Server(PROBE, "--workers", "1", "--limit-max-lifetime", "1", "--no-access-log") as server:
        server.wait_for_ready(1)
        with Load(server.port, connections=4, path="/pid", pause=0.01) as load:
            server.wait_for_log("ready in", count=3)
            load.wait_for_more(20)
        assert not load.tally.failures, f"{load.tally}\n{server.log}"


def test_a_worker_that_uses_too_much_memory_is_recycled() -> None:
    with Server("tests.apps.glutton:app", "--limit-max-rss", "150", "--no-access-log") as server:
        server.wait_for_ready(1)
        first = int(get(server.port, "/pid").body)
        get(server.port, "/eat?mib=200")
        with Load(server.port, connections=4, path="/pid", pause=0.01) as load:
            server.wait_for_log("ready in", count=2, timeout=40)
            server.wait_until(lambda: not is_alive(first))
            load.wait_for_more(20)
        assert not load.tally.failures, f"{load.tally}\n{server.log}"


# ---- resize


def test_resize() -> None:
    with Server(PROBE, "--workers", "2") as server:
        first = server.wait_for_workers(2)
        server.send(signal.SIGTTIN)
        server.wait_for_log("now 3 workers")
        three = server.wait_for_workers(3)
        assert set(first) < set(three)
        for count in (2, 1):
            server.send(signal.SIGTTOU)
            server.wait_until(lambda count=count: len(server.workers()) == count)
        server.send(signal.SIGTTOU)
        # Of two signals that wait at once, the kernel delivers the one with the lower number first.
        server.wait_for_log("now 1 worker\\n", 2)
        server.send(signal.SIGTTIN)
        server.wait_for_workers(2)
        assert server.stop() == 0


def test_slots_are_stable() -> None:
    with Server(PROBE, "--workers", "3") as server:
        server.wait_for_ready(3)
        slots = slots_by_pid(server, 3)
        assert sorted(slots.values()) == ["0", "1", "2"]
        victim = next(pid for pid, slot in slots.items() if slot == "1")
        os.kill(victim, signal.SIGKILL)
        server.wait_for_ready(4)
        after = slots_by_pid(server, 3)
        assert sorted(after.values()) == ["0", "1", "2"]
        assert {pid: slot for pid, slot in after.items() if slot != "1"} == {p: s for p, s in slots.items() if s != "1"}


def slots_by_pid(server: Server, count: int) -> dict[int, str]:
    """Which slot each worker says it has; one connection to each is held until all have answered."""
    found: dict[int, str] = {}
    clients: list[Client] = []

    def all_seen() -> bool:
        client = Client(server.port)
        clients.append(client)
        found[int(client.get("/pid").body)] = client.get("/slot").body.decode()
        return len(found) == count

    server.wait_until(all_seen)
    for client in clients:
        client.close()
    return found


def test_sixty_random_signals_end_where_arithmetic_says(deployment: Deployment) -> None:
    chance = random.Random(60)
    size = 3
    with deployment.serve("--workers", str(size)) as server:
        server.wait_for_ready(size)
        for _ in range(60):
            number = chance.choice([signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU])
            size = max(1, size + {signal.SIGHUP: 0, signal.SIGTTIN: 1, signal.SIGTTOU: -1}[number])
            # Two of a kind that come before the first is taken are one for the kernel; then arithmetic would be wrong.
            answered = answers(server)
            server.send(number)
            server.wait_until(lambda answered=answered: answers(server) > answered, what=f"an answer to {number}")
            pass_time(0.05)
        server.wait_until(lambda: is_settled(server, size), what=f"{size} workers, and no zombie")
        with Load(server.port, connections=32, limit=640) as load:
            assert not load.join().failures, str(load.tally)
        assert server.stop() == 0


def answers(server: Server) -> int:
    """How many orders the supervisor has said that it got."""
    return len(re.findall(r"Now \d+ worker|Reload: replacing", server.log))


def is_settled(server: Server, size: int) -> bool:
    """Whether there are just so many children, as half a second ago, and all serve: no zombies, nobody who comes or goes."""
    before = server.serving()
    pass_time(0.5)
    return sorted(children_of(server.pid)) == server.serving() == before and len(before) == size


def test_many_reloads_leak_nothing(deployment: Deployment) -> None:
    with deployment.serve("--workers", "1", "--log-level", "debug") as server:
        server.wait_for_provision()
        supervisor = psutil.Process(server.pid)
        # The first few fill caches; what counts is what the others add.
        for _ in range(10):
            reload_and_wait(server)
        # Said when it is reaped: a zombie still costs the supervisor its descriptors.
        server.wait_for_log("drained: exit code 0", count=10)
        descriptors, memory = supervisor.num_fds(), supervisor.memory_info().rss
        for _ in range(90):
            reload_and_wait(server)
        server.wait_for_log("drained: exit code 0", count=100)
        assert supervisor.num_fds() == descriptors
        assert supervisor.memory_info().rss - memory < 1_000_000
        assert psutil.Process(server.workers()[0]).num_fds() < descriptors + 16, "a worker inherits no heap of descriptors"
