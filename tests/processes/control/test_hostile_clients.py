"""Clients of the control socket that misbehave. Signals are answered and other clients served meanwhile."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.control import BareClient, bare_client, status
from support.harness import Server, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")

MAX_CLIENTS = 8


@pytest.fixture
def server() -> Iterator[Server]:
    with Server("tests.apps.probe:app") as server:
        server.wait_for_ready(1)
        yield server


def raw(server: Server) -> socket.socket:
    """A connection that has read nothing, not even the greeting."""
    connection = socket.socket(socket.AF_UNIX)
    # Without a time-out, with which it would not wait while others are to be accepted.
    connection.connect(f"\0tricorn/{server.pid}")
    return connection


def send_all(connection: socket.socket, data: bytes) -> None:
    """Send until all is sent, the other end is gone or, as it does not read, the buffers are full."""
    connection.setblocking(False)
    sent = 0
    with suppress(OSError):
        while sent < len(data):
            sent += connection.send(data[sent : sent + 65536])


@contextmanager
def asks_and_never_reads(server: Server) -> Iterator[None]:
    with raw(server) as connection:
        send_all(connection, b'{"command": "status"}\n' * 100_000)
        yield


@contextmanager
def orders_and_never_reads(server: Server) -> Iterator[None]:
    with raw(server) as connection:
        send_all(connection, b'{"command": "reload"}\n' * 100_000)
        yield


@contextmanager
def sends_garbage(server: Server) -> Iterator[None]:
    for data in (
        os.urandom(10_000_000),
        b"x" * 10_000_000,
        b"[" * 4000 + b"\n",
        b'{"command": 1e999}\n',
        b"\xff\n" * 1_000_000,
    ):
        with raw(server) as connection:
            send_all(connection, data)
    yield


@contextmanager
def dies_in_the_middle(server: Server) -> Iterator[None]:
    for data in (b"", b'{"comm', b'{"command": "status"}\n', b'{"command": "reload"}\n', b'{"command": "stat'):
        for _ in range(20):
            with raw(server) as connection:
                connection.sendall(data)
    yield


@contextmanager
def sends_a_byte_at_a_time(server: Server) -> Iterator[None]:
    with bare_client(server) as client:
        for byte in b'{"command": "health"}\n':
            client.socket.sendall(bytes([byte]))
        assert client.answer()["code"] == 0
        yield


@contextmanager
def fifty_at_once(server: Server) -> Iterator[None]:
    with ExitStack() as opened:
        for _ in range(50):
            opened.enter_context(raw(server))
        yield


@pytest.mark.parametrize(
    "misbehave",
    [
        asks_and_never_reads,
        orders_and_never_reads,
        sends_garbage,
        dies_in_the_middle,
        sends_a_byte_at_a_time,
        fifty_at_once,
    ],
)
def test_signals_and_other_clients_are_answered(server: Server, misbehave: Callable[[Server], object]) -> None:
    before = psutil.Process(server.pid).num_fds()
    with misbehave(server):  # type: ignore[attr-defined]
        server.send(signal.SIGTTIN)
        server.wait_for_log("Now 2 workers", timeout=5)
        assert status(server)["supervisor"]["wanted"] == 2
        server.send(signal.SIGTTOU)
        server.wait_for_log("Now 1 worker", timeout=5)
    server.wait_until(lambda: len(server.workers()) == 1 and psutil.Process(server.pid).num_fds() == before)
    assert psutil.Process(server.pid).num_threads() == 1
    assert "Traceback" not in server.log
    assert server.stop() == 0


def test_fifty_that_ask_at_once_are_all_answered(server: Server) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.append(status(server)["supervisor"]["pid"])

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [server.pid] * 50


def test_a_ninth_takes_the_place_of_the_one_that_was_silent_for_longest(server: Server) -> None:
    with ExitStack() as opened:
        clients = [opened.enter_context(bare_client(server)) for _ in range(MAX_CLIENTS)]
        # The first one speaks again, so the second one has been silent for longest.
        assert clients[0].ask(command="health")["code"] == 0
        ninth = opened.enter_context(bare_client(server))
        assert ninth.ask(command="health")["code"] == 0
        assert clients[1].read() == {}
        for client in (clients[0], *clients[2:]):
            assert client.ask(command="health")["code"] == 0


def test_one_that_waits_for_an_answer_keeps_its_place() -> None:
    with Server("tests.apps.slow_start:app", env={"SLOW_START": "2"}) as server, ExitStack() as opened:
        server.wait_for_ready(1)
        waiting = opened.enter_context(bare_client(server))
        waiting.send(command="restart", slot=0)
        for _ in range(MAX_CLIENTS + 2):
            assert opened.enter_context(bare_client(server)).ask(command="health")["code"] == 0
        assert waiting.answer()["code"] == 0


def test_a_client_that_does_not_read_is_dropped(server: Server) -> None:
    with raw(server) as connection:
        send_all(connection, b'{"command": "status"}\n' * 100_000)
        hung_up = select.poll()
        hung_up.register(connection, 0)
        assert hung_up.poll(30_000), "it is still connected"


def test_an_order_whose_client_has_left_is_carried_out(server: Server) -> None:
    with bare_client(server) as client:
        client.send(command="reload")
        assert "progress" in client.read()
    server.wait_for_log("Reload complete")


def test_workers_do_not_inherit_clients_and_listener(server: Server) -> None:
    with ExitStack() as opened:
        clients = [opened.enter_context(bare_client(server)) for _ in range(3)]
        assert clients[0].ask(command="reload")["code"] == 0
        [worker] = server.wait_for_workers(1)
        ours = {row.split()[6] for row in unix_sockets() if row.endswith(f"@tricorn/{server.pid}")}
        assert len(ours) == 4, "the listener and its three connections"
        held = {os.readlink(entry)[8:-1] for entry in Path(f"/proc/{worker}/fd").iterdir() if is_socket(entry)}
        assert not ours & held


def unix_sockets() -> list[str]:
    return Path("/proc/net/unix").read_text().splitlines()


def is_socket(entry: Path) -> bool:
    with suppress(OSError):
        return os.readlink(entry).startswith("socket:")
    return False


def test_many_reloads_leave_nothing_behind() -> None:
    """By hand with ROUNDS=1000; here a small number."""
    rounds = int(os.environ.get("ROUNDS", "10"))
    with Server("tests.apps.probe:app", "--log-level", "debug") as server:
        # The supervisor reads what may be needed later; only then is memory comparable.
        server.wait_for_provision()
        process = psutil.Process(server.pid)
        with bare_client(server) as client, bare_client(server) as poller:

            def reload() -> None:
                client.send(command="reload")
                while "progress" in (message := client.read()):
                    assert poller.ask(command="status")["code"] == 0
                assert message["code"] == 0, message

            for _ in range(5):
                reload()
            fds, memory = process.num_fds(), process.memory_info().rss
            for _ in range(rounds):
                reload()
            wait_until(lambda: process.num_fds() <= fds)
            assert process.num_threads() == 1
            assert process.memory_info().rss < memory + 1024 * 1024


@pytest.mark.parametrize("arguments", [{}, {"to": 2, "by": 1}])
def test_a_resize_that_can_mean_two_things_or_none_is_refused(server: Server, arguments: dict[str, int]) -> None:
    with bare_client(server) as client:
        answer = client.ask(command="resize", id="a", **arguments)
        assert (answer["id"], answer["code"]) == ("a", 2)
        assert client.ask(command="resize", to=1)["code"] == 0


def test_a_name_of_a_request_is_text_or_a_number(server: Server) -> None:
    with bare_client(server) as client:
        names: list[Any] = [True, 1.5, [], {}]
        for name in names:
            answer = client.ask(command="status", id=name)
            assert answer["code"] == 2
            assert "id" not in answer
        assert client.ask(command="status", id=7)["id"] == 7


def test_the_greeting_says_who_answers(server: Server) -> None:
    with bare_client(server) as client:
        assert isinstance(client, BareClient)
        assert client.greeting.keys() == {"tricorn", "version", "pid", "app"}
