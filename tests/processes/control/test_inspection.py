"""``tricornctl requests`` and ``stacks``, while event loops turn and while none does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest
from support.control import BareClient, bare_client, ctl
from support.harness import APPS, Server

SECRET = "secret-token"
STUCK = APPS / "stuck.py"
SLEEP = next(number for number, line in enumerate(STUCK.read_text().splitlines(), 1) if "time.sleep(" in line)


@contextmanager
def stuck(workers: int, *requests: str, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server with ``requests`` in flight, on connections that are closed at the end."""
    clients: list[socket.socket] = []
    with Server("stuck:app", "--app-dir", str(APPS), "--workers", str(workers), *options) as server:
        server.wait_for_log("Serving")
        try:
            for target in requests:
                client = socket.create_connection(("127.0.0.1", server.port))
                client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nCookie: {SECRET}\r\n\r\n".encode())
                clients.append(client)
            yield server
        finally:
            for client in clients:
                client.close()


def paths(client: BareClient) -> list[str]:
    return [request["path"] for request in client.ask(command="requests")["answer"]["requests"]]


def all_blocked(client: BareClient) -> list[dict[str, Any]]:
    """What ``status`` says of the workers' blocked loops; nothing while it does not know the line of each."""
    found = [one["blocked"] for one in client.ask(command="status")["answer"]["workers"]]
    return found if all(one is not None and one["line"] is not None for one in found) else []


def test_requests_in_flight_are_listed_without_what_may_be_secret() -> None:
    with stuck(1, f"/wait/../a?token={SECRET}", "/wait?x=1") as server, bare_client(server) as client:
        # The first is answered at once, the other stays.
        server.wait_until(lambda: paths(client) == ["/wait"])
        answer = client.ask(command="requests")
        assert answer["code"] == 0
        (request,) = answer["answer"]["requests"]
        assert request.keys() == {"slot", "method", "path", "client", "age"}
        assert (request["slot"], request["method"]) == (0, "GET")
        assert request["client"].startswith("127.0.0.1:")
        assert answer["answer"]["blocked"] == []
        shown = ctl(server, "requests")
        assert shown.returncode == 0
        assert shown.stdout.splitlines()[0].split() == ["SLOT", "AGE", "METHOD", "CLIENT", "PATH"]
        assert shown.stdout.splitlines()[1].split()[0::2] == ["0", "GET", "/wait"]
        told = ctl(server, "requests", "--json").stdout + ctl(server, "stacks", "--json").stdout
        assert SECRET not in told
        assert "?" not in told


def test_without_requests_it_says_so() -> None:
    with stuck(1) as server:
        assert ctl(server, "requests").stdout == "No requests in flight\n"


def test_stacks_of_a_worker_whose_loop_turns() -> None:
    with stuck(1, "/wait") as server, bare_client(server) as client:
        server.wait_until(lambda: "in wait" in client.ask(command="stacks")["answer"]["workers"][0]["stacks"])
        (worker,) = client.ask(command="stacks", slot=0)["answer"]["workers"]
        assert worker.keys() == {"slot", "pid", "answered_by", "line", "stacks"}
        assert (worker["slot"], worker["answered_by"], worker["line"]) == (0, "loop", None)
        shown = ctl(server, "stacks", "0")
        assert shown.returncode == 0
        assert f"Worker 0 [{worker['pid']}]: its event loop turns" in shown.stdout
        assert "await asyncio.sleep(SECONDS)" in shown.stdout


def test_while_every_worker_sleeps_all_is_answered_at_once_and_names_the_line() -> None:
    with stuck(2) as server, bare_client(server) as client:
        clients = []

        def is_blocked() -> bool:
            # Until both workers have one: a blocked one may have accepted more than one connection.
            blocked = client.ask(command="requests")["answer"]["blocked"]
            if {one["slot"] for one in blocked} == {0, 1}:
                return True
            one = socket.create_connection(("127.0.0.1", server.port))
            one.sendall(b"GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n")
            clients.append(one)
            return False

        server.wait_until(is_blocked)
        times = {}
        for command in ("status", "requests", "stacks"):
            began = time.monotonic()
            answer = client.ask(command=command)
            times[command] = time.monotonic() - began
            assert answer["code"] == 0, answer
        # 0.2 s are promised; a busy machine may take longer, and a worker that is waited for 60.
        assert max(times.values()) < 5, times
        blocked = server.wait_until(lambda: all_blocked(client))
        assert all(one.keys() == {"seconds", "request", "line"} for one in blocked)
        assert all(one["line"].endswith(f"stuck.py:{SLEEP} block") for one in blocked)
        assert f"stuck.py:{SLEEP} block" in ctl(server, "status").stdout
        answer = client.ask(command="requests")["answer"]
        assert {request["path"] for request in answer["requests"]} == {"/sleep"}
        assert {one["line"] for one in answer["blocked"]} == {f"{STUCK}:{SLEEP} block"}
        workers = client.ask(command="stacks")["answer"]["workers"]
        assert [worker["answered_by"] for worker in workers] == ["signal", "signal"]
        assert all(f'"{STUCK}", line {SLEEP} in block' in worker["stacks"] for worker in workers)
        shown = ctl(server, "requests").stdout
        assert f"its event loop does not turn: {STUCK}:{SLEEP} block" in shown
        for one in clients:
            one.close()


@pytest.mark.parametrize("stalls", ["0", "30"])
def test_the_status_names_the_line_also_without_a_report_of_stalls(stalls: str) -> None:
    with stuck(1, "/sleep", options=("--report-stalls", stalls)) as server, bare_client(server) as client:
        (blocked,) = server.wait_until(lambda: all_blocked(client))
        assert blocked["line"] == f"{STUCK}:{SLEEP} block"
        assert blocked["request"] == "GET /sleep"
        (worker,) = client.ask(command="status")["answer"]["workers"]
        assert worker["in_flight"] == 1
        assert worker["lag"] > 0
        assert worker["blocked"]["seconds"] >= blocked["seconds"]


def test_a_request_that_has_blocked_the_loop_for_long_is_in_flight() -> None:
    with stuck(1, "/sleep", options=("--report-stalls", "0.1")) as server, bare_client(server) as client:
        server.wait_for_log("does not turn")
        (worker,) = client.ask(command="status")["answer"]["workers"]
        assert (worker["in_flight"], worker["blocked"]["request"]) == (1, "GET /sleep")


@pytest.mark.parametrize("slot", ["7", "-1", "x"])
def test_an_unknown_slot_is_one_line_and_exit_code_2(slot: str) -> None:
    with stuck(1) as server:
        done = ctl(server, "stacks", "--", slot)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""


def test_who_floods_it_with_questions_is_refused_or_dropped_and_others_are_served() -> None:
    with stuck(1, "/sleep") as server, closing(BareClient(f"@tricorn/{server.pid}").socket) as flood:
        flood.setblocking(False)
        line = json.dumps({"command": "stacks"}).encode() + b"\n"
        sent = 0
        try:
            for _ in range(5000):
                sent += flood.send(line)
        except OSError:
            pass
        assert sent
        with bare_client(server) as client:
            assert client.ask(command="status")["code"] == 0
            server.wait_until(lambda: client.ask(command="requests")["code"] == 0)
