"""What a waiting tricornctl is told when it does not come to an end as it should."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.control import ctl, start_ctl, status
from support.harness import Server, get, pass_time, raw_connection, read_response, send_request

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")

APP = """
import os, time

print("gated imported", flush=True)
while os.path.exists({gate!r}):
    time.sleep(0.01)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": {version!r}}})
"""


class Gated(Server):
    """A server whose workers do not become ready while the file ``gate`` is there."""

    def __init__(self, folder: Path, *args: str) -> None:
        super().__init__("gated:app", "--app-dir", str(folder), *args)
        self.gate, self.file = folder / "gate", folder / "gated.py"
        self.deploy(b"old")

    def deploy(self, version: bytes) -> None:
        self.file.write_text(APP.format(gate=str(self.gate), version=version))

    def answer(self) -> bytes:
        return get(self.port).body


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gated]:
    with Gated(tmp_path, "--workers", "2") as server:
        server.wait_for_ready(2)
        server.gate.touch()
        yield server


def test_a_timeout_leaves_the_reload_alone(server: Gated) -> None:
    server.deploy(b"new")
    ended = ctl(server, "reload", "--timeout", "0.5")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.splitlines()[-1] == "tricornctl: not done within 0.5 s; it goes on"
    told = json.loads(ctl(server, "--json", "reload", "--timeout", "0.1").stdout)
    assert told == {"error": "not done within 0.1 s; it goes on"}
    server.gate.unlink()
    server.wait_for_log("Reload complete")
    assert server.answer() == b"new"


def test_without_waiting_it_is_only_ordered(server: Gated) -> None:
    ended = ctl(server, "reload", "--no-wait")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Ordered\n", "")
    assert status(server)["supervisor"]["last_reload"]["result"] == "under way"
    assert json.loads(ctl(server, "resize", "3", "--no-wait", "--json").stdout) == {"ordered": True}
    assert ctl(server, "restart", "9", "--no-wait").returncode == 2


def test_a_stop_cuts_a_reload_short_and_says_so(server: Gated) -> None:
    waiting = start_ctl(server, "reload")
    server.wait_for_log("Reload: replacing")
    server.send(signal.SIGTERM)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (3, "")
    assert err.splitlines()[-1] == "tricornctl: the server stops"
    assert server.wait_for_exit() == 0


def test_a_supervisor_that_goes_away_is_1(server: Gated) -> None:
    waiting = start_ctl(server, "reload")
    server.wait_for_log("Reload: replacing")
    server.send(signal.SIGKILL)
    _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 1
    assert err.splitlines()[-1] == "tricornctl: the supervisor went away"
    server.wait_until(lambda: not server.workers())


def test_a_superseded_reload_is_told_why_it_failed(server: Gated) -> None:
    first = start_ctl(server, "reload")
    # Its first worker has read the file.
    server.wait_for_log("gated imported", count=3)
    server.file.write_text("import nothing_of_this_name\n")
    second = ctl(server, "reload")
    _, err = first.communicate(timeout=30)
    assert (first.returncode, second.returncode) == (3, 3)
    assert "superseded by another reload (generation 2), which was abandoned" in err
    assert "nothing_of_this_name" in err
    assert "nothing_of_this_name" in second.stderr
    assert server.answer() == b"old"


def test_a_reload_that_another_one_overtakes_succeeds_with_it(server: Gated) -> None:
    first = start_ctl(server, "reload")
    server.wait_for_log("Reload: replacing")
    server.deploy(b"newest")
    second = start_ctl(server, "reload")
    server.wait_for_log("Reload: replacing", count=2)
    server.gate.unlink()
    assert [one.wait(timeout=30) for one in (first, second)] == [0, 0]
    assert {server.answer() for _ in range(10)} == {b"newest"}
    for one in (first, second):
        one.communicate()


HOLDS = """
import asyncio, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    print("request came", flush=True)
    while os.path.exists({gate!r}):
        await asyncio.sleep(0.01)
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"done"}})
"""


def test_a_stop_waits_for_what_is_in_flight_and_two_are_one_wish(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    (tmp_path / "holds.py").write_text(HOLDS.format(gate=str(gate)))
    with Server("holds:app", "--app-dir", str(tmp_path)) as server, raw_connection(server.port) as client:
        server.wait_for_ready(1)
        send_request(client, "/")
        server.wait_for_log("request came")
        both = [start_ctl(server, "stop") for _ in range(2)]
        server.wait_until(lambda: status(server)["supervisor"]["stage"] == "stopping")
        # Longer than several signals are one wish: only "stop --now" is another.
        pass_time(2.1)
        assert ctl(server, "stop", "--no-wait").returncode == 0
        gate.unlink()
        assert read_response(client).body == b"done"
        assert [one.communicate(timeout=30)[0] for one in both] == ["Stopped, exit code 0\n"] * 2
        assert server.wait_for_exit() == 0
        assert "Stopping at once" not in server.log
