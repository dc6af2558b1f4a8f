"""tricornctl as an operator uses it, on real fleets."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from support.control import BareClient, bare_client, ctl, run_ctl, start_ctl, status
from support.harness import Server, get, is_alive, raw_connection, send_request

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")

PROBE = "tests.apps.probe:app"

APP = """
VERSION = {version!r}

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": VERSION.encode()}})
"""
BROKEN = "import no_such_module_anywhere\n"


class Deployed(Server):
    """A server whose application is a file in ``folder``."""

    def __init__(self, folder: Path, *args: str) -> None:
        super().__init__("deployed:app", "--app-dir", str(folder), *args)
        self.file = folder / "deployed.py"
        self.deploy("old")

    def deploy(self, version: str) -> None:
        self.file.write_text(APP.format(version=version))

    def answer(self) -> str:
        return get(self.port).body.decode()


def test_status_tells_what_the_contract_names() -> None:
    with Server(PROBE, "--workers", "2") as server:
        server.wait_for_workers(2)
        ended = ctl(server, "status", "--json")
        assert (ended.returncode, ended.stderr) == (0, "")
        told = json.loads(ended.stdout)
        assert told["supervisor"].keys() == {
            "pid",
            "version",
            "app",
            "uptime",
            "generation",
            "wanted",
            "ready",
            "stage",
            "listeners",
            "last_reload",
        }
        assert told["supervisor"]["pid"] == server.pid
        assert told["supervisor"]["stage"] == "serving"
        assert told["supervisor"]["last_reload"] is None
        assert told["supervisor"]["listeners"] == [f"http://127.0.0.1:{server.port}"]
        assert sorted(worker["pid"] for worker in told["workers"]) == server.workers()
        for worker in told["workers"]:
            assert worker.keys() == {
                "slot",
                "id",
                "pid",
                "generation",
                "phase",
                "age",
                "requests",
                "in_flight",
                "connections",
                "lag",
                "cpu_seconds",
                "rss_bytes",
                "restarts",
                "last_death",
                "durations",
                "blocked",
            }
            assert worker["phase"] == "ready"
            assert worker["rss_bytes"] > 1_000_000
        assert json.loads(ctl(server, "--json", "status").stdout).keys() == told.keys()
        shown = ctl(server, "status").stdout
        assert PROBE in shown
        assert max(map(len, shown.splitlines())) <= 80


def test_reload_waits_until_the_new_code_answers(tmp_path: Path) -> None:
    with Deployed(tmp_path, "--workers", "2") as server:
        server.wait_for_ready(2)
        for round in range(3):
            server.deploy(f"version {round}")
            ended = ctl(server, "reload")
            assert ended.returncode == 0, ended
            assert {server.answer() for _ in range(20)} == {f"version {round}"}
            assert f"generation {round + 1}" in ended.stdout
            assert "2 of 2 ready" in ended.stderr
            told = ended.stderr.splitlines()
            assert all(line != following for line, following in pairwise(told)), "it says only what is new"
        last = status(server)["supervisor"]["last_reload"]
        assert (last["generation"], last["result"], last["error"]) == (3, "complete", None)


def test_a_broken_deploy_is_told_and_the_old_code_serves_on(tmp_path: Path) -> None:
    with Deployed(tmp_path, "--workers", "2") as server:
        server.wait_for_ready(2)
        server.file.write_text(BROKEN)
        ended = ctl(server, "reload")
        assert ended.returncode == 3
        assert "no_such_module_anywhere" in ended.stderr
        assert server.answer() == "old"
        told = json.loads(ctl(server, "reload", "--json").stdout)
        assert told["result"] == "abandoned"
        assert "no_such_module_anywhere" in told["error"]
        assert "no_such_module_anywhere" in status(server)["supervisor"]["last_reload"]["error"]


def test_two_reloads_at_once_are_both_told_the_truth(tmp_path: Path) -> None:
    with Deployed(tmp_path, "--workers", "3") as server:
        server.wait_for_ready(3)
        server.deploy("new")
        both = [start_ctl(server, "reload") for _ in range(2)]
        assert [one.wait(timeout=30) for one in both] == [0, 0]
        assert {server.answer() for _ in range(20)} == {"new"}
        for one in both:
            one.communicate()


def test_ctrl_c_of_the_waiting_client_leaves_the_reload_alone(tmp_path: Path) -> None:
    with Deployed(tmp_path, "--workers", "2") as server:
        server.wait_for_ready(2)
        server.file.write_text(APP.format(version="slow") + "import time\ntime.sleep(1)\n")
        client = start_ctl(server, "reload")
        server.wait_for_log("Reload: replacing")
        client.send_signal(signal.SIGINT)
        out, err = client.communicate(timeout=30)
        assert client.returncode == 130
        assert "Traceback" not in out + err
        server.wait_for_log("Reload complete")
        assert server.answer() == "slow"


def test_orders_are_carried_out_and_answered() -> None:
    with Server(PROBE, "--workers", "2") as server:
        server.wait_for_workers(2)
        assert ctl(server, "resize", "+1").returncode == 0
        assert len(server.workers()) == 3
        assert ctl(server, "resize", "2").returncode == 0
        server.wait_for_workers(2)
        before = {worker["slot"]: worker["pid"] for worker in status(server)["workers"]}
        assert ctl(server, "restart", "1").returncode == 0
        server.wait_until(lambda: not is_alive(before[1]))
        after = {worker["slot"]: worker["pid"] for worker in status(server)["workers"]}
        assert after[0] == before[0]
        assert ctl(server, "health").returncode == 0
        assert ctl(server, "reopen-logs").returncode == 0
        ended = ctl(server, "stop")
        assert (ended.returncode, ended.stdout) == (0, "Stopped, exit code 0\n")
        assert server.wait_for_exit() == 0


@pytest.mark.parametrize(
    "arguments", [["resize", "0"], ["resize", "-5"], ["restart", "7"], ["resize", "x"], ["log-level", "loud"], ["nonsense"], []]
)
def test_what_makes_no_sense_is_one_line_and_2(arguments: list[str]) -> None:
    with Server(PROBE) as server:
        server.wait_for_ready(1)
        ended = ctl(server, *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert len(ended.stderr.splitlines()) == 1


def test_nobody_to_talk_to_is_1() -> None:
    ended = run_ctl("--pid", str(os.getpid()), "status")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1
    ended = run_ctl("--socket", "/nonexistent/socket", "--json", "status")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["error"]


def test_several_are_listed() -> None:
    with Server(PROBE) as one, Server(PROBE) as two:
        one.wait_for_ready(1)
        two.wait_for_ready(1)
        ended = run_ctl("status")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"--pid {one.pid}  {PROBE}" in ended.stderr
        assert f"--pid {two.pid}  {PROBE}" in ended.stderr


def test_health_tells_whether_enough_workers_are_ready() -> None:
    with Server(PROBE, "--ready-min", "2") as server:
        server.wait_for_ready(1)
        ended = ctl(server, "health")
        assert (ended.returncode, ended.stdout) == (3, "")
        assert ended.stderr == "tricornctl: 1 worker is ready, fewer than --ready-min 2\n"
        assert ctl(server, "resize", "2").returncode == 0
        assert json.loads(ctl(server, "health", "--json").stdout) == {"ready": 2, "ready_min": 2}


def test_a_crash_is_counted_and_explained() -> None:
    with Server(PROBE) as server:
        [pid] = server.wait_for_workers(1)
        os.kill(pid, signal.SIGSEGV)
        server.wait_for_ready(2)
        [worker] = status(server)["workers"]
        assert worker["restarts"] == 1
        assert worker["last_death"] == "crashed: killed by SIGSEGV"


@contextmanager
def ready_client(server: Server) -> Iterator[BareClient]:
    server.wait_for_ready(1)
    with bare_client(server) as client:
        yield client


def test_requests_have_names() -> None:
    with Server(PROBE) as server, ready_client(server) as client:
        assert client.greeting["pid"] == server.pid
        assert client.ask(command="health", id="mine")["id"] == "mine"
        assert client.ask(command="resize", to=1, id=7) == {"id": 7, "code": 0, "answer": {"wanted": 1, "ready": 1}}
        assert client.ask(command="restart", slot=0, wait=False) == {"code": 0, "answer": {"ordered": True}}
        assert client.ask(command="frobnicate")["code"] == 2
        assert client.ask(command="resize")["code"] == 2
        assert client.ask(command="resize", to=1, by=1)["code"] == 2
        assert client.ask(command="restart", slot="x")["code"] == 2
        assert client.ask(command="status", id=[])["code"] == 2


BLOCKS = """
import time

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/block":
        time.sleep(60)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})
"""


def test_requests_are_counted_at_once_also_of_a_blocked_worker(tmp_path: Path) -> None:
    (tmp_path / "blocks.py").write_text(BLOCKS)
    with Server("blocks:app", "--app-dir", str(tmp_path)) as server, raw_connection(server.port) as client:
        server.wait_for_ready(1)
        for count in range(1, 4):
            get(server.port)
            server.wait_until(lambda count=count: status(server)["workers"][0]["requests"] == count)
        send_request(client, "/block")
        server.wait_until(lambda: status(server)["workers"][0]["lag"] > 1.5)
        [worker] = status(server)["workers"]
        assert (worker["requests"], worker["in_flight"], worker["phase"]) == (3, 1, "ready")
        server.wait_until(lambda: status(server)["workers"][0]["lag"] > worker["lag"])
