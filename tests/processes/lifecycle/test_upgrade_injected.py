"""A worker's death, HUP, TERM, and a second USR2 at every step of an upgrade: nothing is lost, left over, or bound twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.harness import Server, children_of, get, is_alive, wait_until
from support.upgrades import Meddler

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")

PROBE = "tests.apps.probe:app"
STEPS = {
    # What a program waits for is given beside what it does then.
    "check": ["check-waits"],
    "a check that fails": ["check-waits", "check-exits"],
    "exchange": ["take-waits"],
    "an exchange that fails": ["take-waits", "take-fails"],
    "the way back": ["take-fails", "back-waits"],
}
FAILS = ("a check that fails", "an exchange that fails", "the way back")


@pytest.mark.parametrize("fault", ["death", "HUP", "TERM", "USR2"])
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_at_a_step(step: str, fault: str, tmp_path: Path) -> None:
    meddler = Meddler(tmp_path)
    with Server(PROBE, "--workers", "2", env=meddler.env) as server:
        workers = server.wait_for_workers(2)
        for what in STEPS[step]:
            meddler.let(what)
        server.send(signal.SIGUSR2)
        meddler.wait_for_arrival()
        victim = workers[0]
        if fault == "death":
            os.kill(victim, signal.SIGKILL)
        else:
            server.send(getattr(signal, f"SIG{fault}"))
        meddler.go_on()
        if fault == "TERM":
            assert server.wait_for_exit() == 0
            assert not any(map(is_alive, workers))
            return
        if fault == "death":
            server.wait_for_log(rf"\[{victim}\] crashed: killed by SIGKILL")
        elif fault == "HUP":
            server.wait_for_log("Reload complete")
        # Whatever became of it, the upgrade is over, and the fleet is whole.
        server.wait_for_log("Upgrade refused: |Upgrade failed: " if step in FAILS else "has taken over")
        server.wait_until(
            lambda: len(children_of(server.pid)) == 2 and len(server.serving()) == 2, what="the fleet is not whole"
        )
        if fault == "USR2" and step in ("check", "exchange"):
            # One that comes in the gap is an upgrade of its own.
            assert server.log.count("has taken over") in (1, 2)
        assert get(server.port, "/pid").status == 200
        listening = [one for one in psutil.Process(server.pid).net_connections() if one.status == psutil.CONN_LISTEN]
        assert len(listening) == 1
        assert server.stop() == 0
        assert not any(map(is_alive, workers))


def test_without_a_supervisor_usr2_does_no_harm() -> None:
    with Server(PROBE, "--workers", "0") as server:
        assert get(server.port, "/pid").status == 200
        server.send(signal.SIGUSR2)
        server.wait_for_log("SIGUSR2: without a supervisor .* restart the server")
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0


def test_a_program_is_not_executed_again(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(
        "import tricorn\n\nif __name__ == '__main__':\n    tricorn.run('tests.apps.probe:app', port=0, workers=2)\n"
    )
    server = Server(PROBE)
    server.command = [sys.executable, str(script)]
    server.env["PYTHONPATH"] = str(server.cwd)
    with server:
        server.wait_for_ready(2)
        server.send(signal.SIGUSR2)
        server.wait_for_log("Upgrade refused: a program has started the server .*; restart the program instead")
        assert server.stop() == 0


def test_with_preload_a_new_template_forks_workers() -> None:
    with Server(PROBE, "--workers", "2", "--preload", "app") as server:
        server.wait_for_ready(2)
        server.wait_for_log("workers share the application")
        workers = [pid for pid in server.workers() if f"[{pid}] ready in" in server.log]
        server.send(signal.SIGUSR2)
        server.wait_for_log("has taken over")
        server.wait_for_log("workers share the application", 2)
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for_ready(3)
        assert workers[1] in server.workers()
        # Two workers and one template: the old one has ended with its supervisor.
        wait_until(lambda: len(children_of(server.pid)) == 3)
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_executes_nothing_that_the_workers_user_could_have_written(tmp_path: Path) -> None:
    with Server("examples.hello:app", "--user", "nobody") as server:
        server.wait_for_ready(1)
        server.send(signal.SIGUSR2)
        server.wait_for_log("has taken over")
        assert get(server.port, "/").status == 200
        assert server.stop() == 0
    theirs = tmp_path / "packages"
    theirs.mkdir()
    subprocess.run(["chown", "nobody", str(theirs)], check=True)
    with Server("examples.hello:app", "--user", "nobody", env={"PYTHONPATH": str(theirs)}) as server:
        server.wait_for_ready(1)
        server.send(signal.SIGUSR2)
        server.wait_for_log(f"Upgrade refused: the user of the workers .* can change {theirs}, which root would execute")
        assert get(server.port, "/").status == 200
