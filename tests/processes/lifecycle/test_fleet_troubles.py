"""Workers that hang, crash or stop: how the fleet finds out, what it says and what it does; with real processes."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil
from support.harness import Client, Server, get, is_alive, pass_time, raw_connection, read_response, send_request, wait_until

PROBE = "tests.apps.probe:app"

# ---- hangs


def test_a_hung_worker_that_has_not_read_its_orders_does_not_outlive_the_supervisor() -> None:
    with Server(PROBE) as server:
        [worker] = server.wait_for_workers(1)
        with raw_connection(server.port) as victim:
            send_request(victim, "/hang?seconds=60")
            server.wait_for_log("hang begins")
            server.send(signal.SIGTERM)
            server.wait_for_log("Stopping")
            server.send(signal.SIGKILL)
            server.wait_until(lambda: not is_alive(worker), timeout=10)


def test_a_hung_worker_is_replaced_and_explained() -> None:
    with Server(PROBE, "--workers", "2", "--timeout-worker-healthcheck", "3") as server:
        pids = server.wait_for_workers(2)
        with raw_connection(server.port) as victim:
            send_request(victim, "/hang?seconds=60")
            hung = int(server.wait_for_log(r"hang begins in (\d+)").group(1))
            begun = time.monotonic()
            witness = connection_to_another(server, hung)
            answers = 0
            while "ready in" not in server.log.split("hang begins", 1)[1]:
                assert int(witness.get("/pid").body) in set(pids) - {hung}
                answers += 1
                # Without the option it would be thirty seconds.
                assert time.monotonic() - begun < 20, server.log
                pass_time(0.02)
            # There is time for a hundred; who had to wait until the hung worker is gone would be answered once or twice.
            assert answers > 20
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
    with Server(PROBE, "--workers", "3", "--timeout-worker-healthcheck", "4") as server:
        server.wait_for_workers(3)
        with ExitStack() as stack:
            for count in (1, 2):
                # Connected only now, when the workers that hang already cannot take it.
                victim = stack.enter_context(raw_connection(server.port))
                send_request(victim, "/hang?seconds=60")
                server.wait_for_log("hang begins", count)
            server.wait_for_log("hung: ")
            first = time.monotonic()
            server.wait_for_log("hung: ", count=2)
            # Were the second looked for only when the first is found, it would take the four seconds once more.
            assert time.monotonic() - first < 3.5
            server.wait_for_log("ready in", count=5)


def test_a_slow_start_is_no_hang() -> None:
    with Server("tests.apps.slow_start:app", "--timeout-worker-healthcheck", "2") as server:
        server.wait_for_ready(1)
        assert server.log.count("slow_start imported") == 1


def test_a_suspended_machine_kills_nobody() -> None:
    with Server(PROBE, "--workers", "2", "--timeout-worker-healthcheck", "3") as server:
        before = server.wait_for_workers(2)
        server.send_to_group(signal.SIGSTOP)
        pass_time(6)
        server.send_to_group(signal.SIGCONT)
        pass_time(1)
        assert server.workers() == before
        assert get(server.port, "/pid").status == 200


# ---- crashes


def test_a_crash_loop_is_slow_and_a_stop_ends_it_at_once() -> None:
    with Server("tests.apps.dies_young:app", "--workers", "1") as server:
        server.wait_for_log("one more start")
        before = sum(psutil.Process(server.pid).cpu_times()[:2])
        pass_time(6)
        assert sum(psutil.Process(server.pid).cpu_times()[:2]) - before < 1.0
        assert server.log.count("one more start") <= 12
        server.wait_for_log("one more start", count=3)
        # Signals are answered also while a slot waits.
        assert time_to_answer(server) < 0.5
        assert server.stop(timeout=10) == 0
        assert "exit code 7" in server.log


def test_a_request_that_kills_its_worker_again_and_again_leaves_others_to_serve() -> None:
    with Server(PROBE, "--workers", "2") as server:
        server.wait_for_workers(2)
        # So many deaths that each slot's wait, doubled every time, would be longer than the test waits.
        for count in range(1, 17):
            with raw_connection(server.port) as attacker:
                send_request(attacker, "/exit")
                assert attacker.recv(1) == b""
            server.wait_for_log(r"crashed: exit code 9; to be replaced (at once|in [01]\.\d s)", count)
            assert get(server.port, "/pid").status == 200
        server.wait_for_ready(18)
        server.wait_for_workers(2)


def time_to_answer(server: Server) -> float:
    """Seconds from a signal to its answer, for a fleet of one; the best of five, as the machine may be busy with others."""
    times = []
    for number in range(5):
        begun = time.monotonic()
        # Never below one: nothing is changed.
        server.send(signal.SIGTTOU)
        server.wait_for_log("now 1 worker", count=number + 1)
        times.append(time.monotonic() - begun)
    return min(times)


def test_the_crash_limit_is_exit_code_4() -> None:
    with Server("tests.apps.dies_young:app", "--limit-crashes", "2") as server:
        assert server.wait_for_exit() == 4
        assert "--limit-crashes 2" in server.log
        assert server.log.count("one more start") == 3


# ---- stop


def test_shutdown_delay_keeps_serving() -> None:
    with Server(PROBE, "--shutdown-delay", "3") as server:
        server.wait_for_workers(1)
        begun = time.monotonic()
        server.send(signal.SIGTERM)
        server.wait_for_log("still serving")
        assert get(server.port, "/pid").status == 200
        assert server.wait_for_exit() == 0
        # The grace that a stop may take is thirty seconds.
        assert 2.8 < time.monotonic() - begun < 15


def test_the_last_answer_of_a_draining_worker_says_close(tmp_path: Path) -> None:
    with Server(PROBE, "--workers", "1") as server:
        [old] = server.wait_for_workers(1)
        with raw_connection(server.port) as connection:
            send_request(connection, f"/slow?until={tmp_path}/drains")
            server.wait_for_log("slow begins")
            server.send(signal.SIGHUP)
            server.wait_until_left(old)
            (tmp_path / "drains").touch()
            answer = read_response(connection)
            assert answer.status == 200
            assert answer.headers.get("connection") == "close"
            assert connection.recv(1) == b""
        server.wait_for_log("reload complete")


def test_connections_are_shared_fairly() -> None:
    with Server(PROBE, "--workers", "4", "--no-access-log") as server:
        server.wait_for_workers(4)
        rounds: list[Counter[bytes]] = []

        def is_fair() -> bool:
            rounds.append(burst(server, 64))
            return len(rounds[-1]) == 4 and max(rounds[-1].values()) / 16 <= 1.25

        # Workers that get no processor for a moment are not waited for, so on a busy machine the best of some rounds counts.
        wait_until(is_fair, what=lambda: str(rounds))


def burst(server: Server, count: int) -> Counter[bytes]:
    """How many of ``count`` connections, opened at once, each worker got."""
    clients = [Client(server.port) for _ in range(count)]
    for client in clients:
        client.connect()
    by_worker = Counter(client.get("/pid").body for client in clients)
    for client in clients:
        client.close()
    return by_worker


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
