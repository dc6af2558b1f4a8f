"""New connections: whom they wake, who takes them, and that none waits for a worker that is busy, or is lost."""

from __future__ import annotations

import resource
import signal
import socket
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest
from support.harness import Client, Server, get, pass_time, raw_connection, send_request, wait_for_rest, wait_until

PROBE = "tests.apps.probe:app"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="epoll(7) and /proc")
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
ALL_LOOPS = pytest.mark.parametrize(
    "loop", ["uvloop", "asyncio", "tests.apps.bare_loops:closed_uvloop", "tests.apps.bare_loops:poll"]
)
"""Those, too, of which a worker learns nothing by which it could do better than asyncio's documentation lets it."""


def switches(pids: list[int]) -> int:
    """How often the processes have slept: each time something has woken them."""
    return sum(psutil.Process(pid).num_ctx_switches().voluntary for pid in pids)


@LINUX
@LOOPS
def test_a_connection_wakes_one_worker(loop: str) -> None:
    """If it woke all ten, a request on a connection of its own would cost at least ten wake-ups."""
    with Server(PROBE, "--workers", "10", "--no-access-log", "--loop", loop) as server:
        pids = server.wait_for_workers(10)
        wait_for_rest(pids)
        cost = []

        def is_cheap() -> bool:
            before = switches(pids)
            for _ in range(40):
                with raw_connection(server.port) as client:
                    send_request(client, "/", "Connection: close")
                    while client.recv(4096):
                        pass
                pass_time(0.003)
            cost.append((switches(pids) - before) / 40)
            return cost[-1] < 8

        # Beats and late imports wake them, too.
        wait_until(is_cheap, what=lambda: str(cost))


@ALL_LOOPS
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_persistent_connections_that_come_one_by_one_are_shared(loop: str, family: str, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listen = ("--port", "0") if family == "tcp" else ("--uds", path)
    with Server(PROBE, "--workers", "4", "--no-access-log", "--loop", loop, listen=listen) as server:
        server.wait_for_ready(4)
        rounds: list[Counter[bytes]] = []

        def is_fair() -> bool:
            with ExitStack() as stack:
                rounds.append(Counter())
                for _ in range(64):
                    client = stack.enter_context(closing(Client(server.port) if family == "tcp" else Client(uds=path)))
                    rounds[-1][client.get("/pid").body] += 1
            return len(rounds[-1]) == 4 and max(rounds[-1].values()) / 16 <= 1.25

        # A worker that gets no processor for a moment is not waited for.
        wait_until(is_fair, what=lambda: str(rounds))


@LOOPS
def test_no_connection_waits_for_a_worker_that_is_busy(loop: str) -> None:
    with Server(PROBE, "--workers", "2", "--no-access-log", "--loop", loop) as server:
        server.wait_for_workers(2)
        with raw_connection(server.port) as busy, ExitStack() as stack:
            send_request(busy, "/hang?seconds=60")
            hung = server.wait_for_log(r"hang begins in (\d+)").group(1).encode()
            # The other worker has ever more connections, and still takes the next.
            for _ in range(50):
                client = stack.enter_context(closing(Client(server.port)))
                assert client.get("/pid").body != hung


@LINUX
@ALL_LOOPS
def test_connections_for_which_there_is_no_descriptor_wait(loop: str) -> None:
    """None is closed: they are taken when others have ended."""
    limit = 400
    with Server(PROBE, "--no-access-log", "--loop", loop) as server:
        [pid] = server.wait_for_workers(1)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        with ExitStack() as stack:
            clients = [stack.enter_context(closing(Client(server.port))) for _ in range(limit)]
            for client in clients:
                client.connect()
            server.wait_for_log("Can't accept connections")
            answered = clients[: limit // 2]
            for client in answered:
                assert client.get("/pid").status == 200
            for client in answered:
                client.close()
            for client in clients[limit // 2 :]:
                assert client.get("/pid").status == 200


@LINUX
@pytest.mark.parametrize("workers", ["0", "1", "2"])
@ALL_LOOPS
def test_what_waits_in_the_queue_is_answered_at_a_stop(loop: str, workers: str) -> None:
    with Server(PROBE, "--workers", workers, "--no-access-log", "--loop", loop) as server:
        server.wait_for_log("ready in|running on")
        wait_until(lambda: get(server.port).status == 200)
        serving = [server.pid] if workers == "0" else server.wait_for_workers(int(workers))
        for pid in serving:
            psutil.Process(pid).suspend()
        with ExitStack() as stack:
            waiting = [stack.enter_context(raw_connection(server.port)) for _ in range(20)]
            for client in waiting:
                send_request(client, "/pid")
            server.send(signal.SIGTERM)
            for pid in serving:
                psutil.Process(pid).resume()
            for client in waiting:
                assert first_line(client) == b"HTTP/1.1 200 OK"
        assert server.wait_for_exit() == 0


def first_line(client: socket.socket) -> bytes:
    answer = b""
    while b"\r\n" not in answer and (more := client.recv(4096)):
        answer += more
    return answer.partition(b"\r\n")[0]
