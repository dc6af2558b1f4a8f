"""An upgrade executes a new supervisor in the place of the old one: same process, same workers, nothing lost."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from support.control import bare_client, ctl, start_ctl, status
from support.harness import Client, Server, get, is_alive, wait_until
from support.upgrades import Meddler, descriptors, wait_for_upgrades

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")

PROBE = "tests.apps.probe:app"


@pytest.fixture
def meddler(tmp_path: Path) -> Meddler:
    directory = tmp_path / "meddler"
    directory.mkdir()
    return Meddler(directory)


def test_sigusr2_keeps_process_workers_connections_and_counters() -> None:
    with Server(PROBE, "--workers", "2") as server:
        workers = server.wait_for_workers(2)
        client = Client(server.port)
        worker = client.get("/pid").body
        os.kill(next(pid for pid in workers if str(pid).encode() != worker), signal.SIGKILL)
        server.wait_for_ready(3)
        before = status(server)
        for number in range(1, 3):
            server.send(signal.SIGUSR2)
            wait_for_upgrades(server, number)
            assert client.get("/pid").body == worker
        after = status(server)
        kept = ("pid", "app", "generation", "wanted", "ready", "stage", "listeners", "last_reload")
        assert {name: after["supervisor"][name] for name in kept} == {name: before["supervisor"][name] for name in kept}
        assert after["supervisor"]["uptime"] > before["supervisor"]["uptime"]
        its = ("slot", "id", "pid", "generation", "phase", "restarts", "last_death")
        same = [[{name: worker[name] for name in its} for worker in told["workers"]] for told in (before, after)]
        assert same[0] == same[1]
        assert sum(worker["restarts"] for worker in after["workers"]) == 1
        requests = [sum(worker["requests"] for worker in told["workers"]) for told in (before, after)]
        assert requests[1] == requests[0] + 2
        client.close()
        assert server.stop() == 0
        assert not any(map(is_alive, workers))


def test_tricornctl_waits_for_the_upgrade_and_for_a_reload_that_follows() -> None:
    with Server(PROBE, "--workers", "2") as server:
        workers = server.wait_for_workers(2)
        done = ctl(server, "upgrade")
        assert (done.returncode, "has taken over from" in done.stdout) == (0, True)
        assert server.workers() == workers
        done = ctl(server, "upgrade", "--reload", "--json")
        assert (done.returncode, '"result": "complete"' in done.stdout) == (0, True)
        assert not set(server.serving()) & set(workers)
        assert status(server)["supervisor"]["generation"] == 1


def test_two_at_once_are_one_and_both_are_answered() -> None:
    with Server(PROBE) as server:
        server.wait_for_ready(1)
        with bare_client(server) as first, bare_client(server) as second:
            first.send(command="upgrade", id="a")
            server.wait_for_log("Upgrade: checking")
            second.send(command="upgrade", id="b")
            server.send(signal.SIGUSR2)
            assert first.answer()["code"] == second.answer()["code"] == 0
            # The connections are still there.
            assert first.ask(command="health")["code"] == 0
        assert server.log.count("has taken over") == 1


def test_during_an_upgrade_nobody_is_refused_at_the_control_socket(meddler: Meddler) -> None:
    meddler.let("take-waits")
    with Server(PROBE, env=meddler.env) as server:
        server.wait_for_ready(1)
        asked = start_ctl(server, "upgrade")
        meddler.wait_for_arrival()
        # The supervisor does not run now; its socket listens.
        health = start_ctl(server, "health")
        resize = start_ctl(server, "resize", "2")
        meddler.go_on()
        assert [asked.wait(60), health.wait(60), resize.wait(60)] == [0, 0, 0]
        assert len(server.workers()) == 2


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_in_the_gap_is_answered_after_it(meddler: Meddler, number: int) -> None:
    meddler.let("take-waits")
    with Server(PROBE, "--workers", "2", env=meddler.env) as server:
        workers = server.wait_for_workers(2)
        server.send(signal.SIGUSR2)
        meddler.wait_for_arrival()
        server.send(number)
        meddler.go_on()
        if number == signal.SIGTERM:
            assert server.wait_for_exit() == 0
        else:
            server.wait_for_log("Reload complete")
            assert len(server.workers()) == 2
        assert not any(map(is_alive, workers))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_right_after_usr2_is_not_lost(number: int) -> None:
    with Server(PROBE) as server:
        server.wait_for_ready(1)
        server.send(signal.SIGUSR2)
        server.send(number)
        if number == signal.SIGTERM:
            assert server.wait_for_exit() == 0
            assert "Stopping" in server.log
        else:
            server.wait_for_log("Reload complete")
            wait_for_upgrades(server)


def test_a_worker_that_dies_in_the_gap_is_reaped_and_replaced(meddler: Meddler) -> None:
    meddler.let("take-waits")
    with Server(PROBE, "--workers", "2", env=meddler.env) as server:
        workers = server.wait_for_workers(2)
        server.send(signal.SIGUSR2)
        meddler.wait_for_arrival()
        os.kill(workers[0], signal.SIGKILL)
        meddler.go_on()
        server.wait_for_log(rf"\[{workers[0]}\] crashed: killed by SIGKILL")
        wait_until(lambda: len(server.serving()) == 2)
        assert workers[1] in server.serving()


def test_an_upgrade_waits_for_a_reload_under_way() -> None:
    with Server("tests.apps.slow_start:app") as server:
        server.wait_for_ready(1)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload: replacing")
        server.send(signal.SIGUSR2)
        wait_for_upgrades(server)
        assert server.log.index("Reload complete") < server.log.index("can take over")


# ------------------------------------------------------------------------------------------------------- what is refused


def test_an_application_that_can_not_be_imported_is_refused(tmp_path: Path) -> None:
    app = tmp_path / "shop.py"
    good = (
        "async def app(scope, receive, send):\n    await send({'type': 'http.response.start', 'status': 204, 'headers': []})\n"
    )
    good += "    await send({'type': 'http.response.body'})\n"
    app.write_text(good)
    with Server("shop:app", "--app-dir", str(tmp_path), "--lifespan", "off") as server:
        server.wait_for_ready(1)
        workers = server.workers()
        app.write_text("import nothing_of_that_name\n")
        done = ctl(server, "upgrade")
        assert done.returncode == 3
        assert "No module named 'nothing_of_that_name'" in done.stderr
        lines = [line for line in server.log.splitlines() if "Upgrade refused" in line]
        assert len(lines) == 1
        assert "nothing_of_that_name" in lines[0]
        assert "Traceback" not in server.log
        # The check is being killed.
        wait_until(lambda: server.workers() == workers)
        assert get(server.port).status == 204
        app.write_text(good)
        assert ctl(server, "upgrade").returncode == 0


def test_a_check_that_ends_without_its_word_has_failed(meddler: Meddler) -> None:
    meddler.let("check-exits")
    with Server(PROBE, env=meddler.env) as server:
        server.wait_for_ready(1)
        done = ctl(server, "upgrade")
        assert done.returncode == 3
        assert "ended without a word (exit code 0)" in done.stderr


def test_a_check_that_takes_too_long_is_ended_and_signals_are_answered_meanwhile(meddler: Meddler) -> None:
    meddler.let("check-waits")
    with Server(PROBE, "--timeout-worker-startup", "3", env=meddler.env) as server:
        server.wait_for_ready(1)
        server.send(signal.SIGUSR2)
        meddler.wait_for_arrival()
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        server.wait_for_log("Upgrade refused: it did not answer within --timeout-worker-startup 3 s")
        wait_until(lambda: len(server.workers()) == 1)


def test_term_ends_a_check(meddler: Meddler) -> None:
    meddler.let("check-waits")
    with Server(PROBE, env=meddler.env) as server:
        server.wait_for_ready(1)
        asked = start_ctl(server, "upgrade")
        meddler.wait_for_arrival()
        assert server.stop() == 0
        assert asked.wait(60) == 3
        assert "the server stops" in asked.communicate()[1]


def test_with_reload_there_is_no_upgrade() -> None:
    with Server(PROBE, "--reload") as server:
        server.wait_for_ready(1)
        done = ctl(server, "upgrade")
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1
        assert "--reload" in done.stderr


# ----------------------------------------------------------------------------------------------------- what is undone


def test_a_program_that_fails_after_it_was_executed_is_undone(meddler: Meddler) -> None:
    with Server(PROBE, "--workers", "2", env=meddler.env) as server:
        workers = server.wait_for_workers(2)
        client = Client(server.port)
        worker = client.get("/pid").body
        meddler.let("take-fails")
        done = ctl(server, "upgrade")
        assert done.returncode == 3
        assert "can't take over" in done.stderr
        server.wait_for_log("Upgrade failed: .*; Tricorn .* goes on")
        assert client.get("/pid").body == worker
        assert server.workers() == workers
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        assert client.get("/pid").status == 200
        client.close()
        assert server.stop() == 0


def test_if_that_fails_as_well_the_workers_finish_and_exit(meddler: Meddler, tmp_path: Path) -> None:
    meddler.let("take-fails")
    meddler.let("back-fails")
    with Server(PROBE, "--workers", "2", env=meddler.env) as server:
        workers = server.wait_for_workers(2)
        client = Client(server.port)
        client.request("GET", f"/slow?until={tmp_path / 'answered'}")
        server.wait_for_log("slow begins")
        server.send(signal.SIGUSR2)
        assert server.wait_for_exit() != 0
        (tmp_path / "answered").touch()
        assert client.getresponse().read() == b"slow ends"
        wait_until(lambda: not any(map(is_alive, workers)))
        client.close()


def test_nothing_is_left_open_or_grows() -> None:
    with Server(PROBE, "--workers", "2") as server:
        server.wait_for_workers(2)
        server.send(signal.SIGUSR2)
        wait_for_upgrades(server)
        opened, workers = descriptors(server.pid), server.workers()
        held = [descriptors(pid).total() for pid in workers]
        for number in range(2, 5):
            server.send(signal.SIGUSR2)
            wait_for_upgrades(server, number)
        assert server.workers() == workers
        # A client may just be leaving; those of before may have left meanwhile.
        server.wait_until(lambda: descriptors(server.pid) == opened, what=f"not what was open before: {opened}")
        server.wait_until(
            lambda: all(descriptors(pid).total() <= before for pid, before in zip(workers, held, strict=True)),
            what=f"more than {held} in the workers",
        )
