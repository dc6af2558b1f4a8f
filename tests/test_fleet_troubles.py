"""Workers that hang, crash or stop: how the fleet finds out, what it says and what it does; with real processes."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import ExitStack

import psutil
from harness import Client, Server, get, is_alive, pass_time, raw_connection, read_response, send_request, wait_until

PROBE = "tests.apps.probe:app"

# ---- hangs


def test_a_hung_worker_is_replaced_and_explained() -> None:
    with Server(PROBE, "--workers", "2", "--timeout-worker-healthcheck", "2") as server:
        pids = server.wait_for_workers(2)
        with raw_connection(server.port) as victim:
            send_request(victim, "/hang?seconds=60")
            hung = int(server.wait_for_log(r"hang begins in (\d+)").group(1))
            begun = time.monotonic()
            witness = connection_to_another(server, hung)
            slowest = 0.0
            while "ready in" not in server.log.split("hang begins", 1)[1]:
                asked = time.monotonic()
                assert int(witness.get("/pid").body) in set(pids) - {hung}
                slowest = max(slowest, time.monotonic() - asked)
                assert time.monotonic() - begun < 10, server.log
                pass_time(0.02)
            assert time.monotonic() - begun < 4.0
            assert slowest < 0.5
            witness.close()
        account = server.log.split("hang begins", 1)[1]
        assert "hang_the_loop" in account
        assert re.search(r"probe\.py\D+\d+", account), "the line it hung on"
        assert "GET /hang" in account
        assert not is_alive(hung)
        server.wait_for_workers(2)


def connection_to_another(server: Server, hung: int) -> Client:
    """A connection that a worker other than ``hung``, which cannot accept, has taken."""
    client = Client(server.port)
    assert int(client.get("/pid").body) != hung
    return client


def test_several_hangs_are_found_at_the_same_time() -> None:
    with Server(PROBE, "--workers", "3", "--timeout-worker-healthcheck", "2") as server:
        server.wait_for_workers(3)
        with ExitStack() as stack:
            for count in (1, 2):
                # Connected only now, when the workers that hang already cannot take it.
                victim = stack.enter_context(raw_connection(server.port))
                send_request(victim, "/hang?seconds=60")
                server.wait_for_log("hang begins", count)
            begun = time.monotonic()
            server.wait_for_log("ready in", count=5)
            assert time.monotonic() - begun < 4.5


def test_a_slow_start_is_no_hang() -> None:
    with Server("tests.apps.slow_start:app", "--timeout-worker-healthcheck", "2") as server:
        server.wait_for_ready(1)
        assert server.log.count("slow_start imported") == 1


def test_a_suspended_machine_kills_nobody() -> None:
    with Server(PROBE, "--workers", "2", "--timeout-worker-healthcheck", "2") as server:
        before = server.wait_for_workers(2)
        server.send_to_group(signal.SIGSTOP)
        pass_time(4)
        server.send_to_group(signal.SIGCONT)
        pass_time(1)
        assert server.workers() == before
        assert get(server.port, "/pid").status == 200


# ---- crashes


def test_a_crash_loop_is_slow_and_a_stop_ends_it_at_once() -> None:
    with Server("tests.apps.dies_young:app", "--workers", "1") as server:
        server.wait_for_log("one more start")
        pass_time(6)
        starts = server.log.count("one more start")
        assert 3 <= starts <= 12
        used = psutil.Process(server.pid).cpu_times()
        assert used.user + used.system < 1.0, "start-up included"
        begun = time.monotonic()
        server.send(signal.SIGTERM)
        server.wait_for_log("stopping")
        assert time.monotonic() - begun < 0.5
        assert server.wait_for_exit(timeout=10) == 0
        assert time.monotonic() - begun < 2.0
        assert "exit code 7" in server.log


def test_the_crash_limit_is_exit_code_4() -> None:
    with Server("tests.apps.dies_young:app", "--limit-crashes", "2") as server:
        assert server.wait_for_exit() == 4
        assert "--limit-crashes 2" in server.log
        assert server.log.count("one more start") == 3


# ---- stop


def test_shutdown_delay_keeps_serving() -> None:
    with Server(PROBE, "--shutdown-delay", "1.5") as server:
        server.wait_for_workers(1)
        begun = time.monotonic()
        server.send(signal.SIGTERM)
        server.wait_for_log("still serving")
        assert get(server.port, "/pid").status == 200
        assert server.wait_for_exit() == 0
        assert 1.3 < time.monotonic() - begun < 5


def test_the_last_answer_of_a_draining_worker_says_close() -> None:
    with Server(PROBE, "--workers", "1") as server:
        server.wait_for_ready(1)
        with raw_connection(server.port) as connection:
            send_request(connection, "/slow?seconds=1")
            server.wait_for_log("slow begins")
            reload_in_background = time.monotonic()
            server.send(signal.SIGHUP)
            answer = read_response(connection)
            assert answer.status == 200
            assert answer.headers.get("connection") == "close"
            assert connection.recv(1) == b""
            assert time.monotonic() - reload_in_background < 10
        server.wait_for_log("reload complete")


def test_connections_are_shared_fairly() -> None:
    with Server(PROBE, "--workers", "4", "--no-access-log") as server:
        server.wait_for_workers(4)
        clients = [Client(server.port) for _ in range(64)]
        for client in clients:
            client.connect()
        by_worker: dict[bytes, int] = {}
        for client in clients:
            pid = client.get("/pid").body
            by_worker[pid] = by_worker.get(pid, 0) + 1
            client.close()
        assert len(by_worker) == 4
        assert max(by_worker.values()) / 16 <= 1.25, by_worker


def test_orphans_of_a_worker_do_not_confuse_the_supervisor() -> None:
    """A worker's own children die with or without it; the supervisor neither counts them nor waits for them."""
    with Server("tests.apps.has_children:app", "--workers", "1") as server:
        server.wait_for_ready(1)
        child = int(get(server.port).body)
        wait_until(lambda: is_alive(child))
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for_ready(2)
        assert get(server.port).status == 200
        for member in psutil.Process(server.workers()[0]).children():
            member.kill()
        if is_alive(child):
            os.kill(child, signal.SIGKILL)
        assert server.stop() == 0
