"""What operators, their tools and their applications do to a server, and what it does then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from support.harness import ROOT, Server, environment, get, is_port_free, wait_until

APP = "tests.apps.forks:app"


def test_a_process_that_the_application_forks_can_be_terminated_and_its_worker_serves_on() -> None:
    with Server(APP, "--workers", "1") as server:
        server.wait_for_ready(1)
        get(server.port, "/fork")
        assert get(server.port, "/terminate").body == b"-15"
        assert get(server.port, "/").body == b"ok"
        assert "Stopping" not in server.log
        assert "drained" not in server.log


def test_a_process_that_the_application_forks_does_not_keep_the_port() -> None:
    with Server(APP, "--workers", "1") as server:
        server.wait_for_ready(1)
        child = int(get(server.port, "/fork").body)
        server.send(signal.SIGKILL)
        wait_until(lambda: is_port_free(server.port))
        if psutil.pid_exists(child):
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("options", [(), ("--limit-crashes", "0"), ("--shutdown-delay", "1")])
def test_a_stop_of_the_whole_group_is_a_stop(options: tuple[str, ...]) -> None:
    with Server("examples.hello:app", "--workers", "4", *options) as server:
        server.wait_for_ready(4)
        server.send_to_group(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert "crashed" not in server.log


def test_a_worker_that_is_sent_sigterm_is_replaced_before_it_leaves() -> None:
    with Server("examples.hello:app", "--workers", "2") as server:
        server.wait_for_ready(2)
        workers = server.workers()
        os.kill(workers[0], signal.SIGTERM)
        server.wait_for_log("to be replaced: it got SIGTERM")
        wait_until(lambda: workers[0] not in server.workers() and len(server.serving()) == 2)
        assert "crashed" not in server.log


@pytest.mark.parametrize("lifespan", ["auto", "on"])
def test_an_application_that_exits_in_its_start_up_failed_to_start(lifespan: str) -> None:
    with Server(APP, "--lifespan", lifespan, env={"TEST_EXIT_AT_STARTUP": "1"}) as server:
        assert server.wait_for_exit() == 3
        assert server.log.count("SystemExit: 5") == 1
        assert "ready" not in server.log


def test_threads_that_are_no_daemons_finish_before_a_worker_is_gone() -> None:
    with Server(APP) as server:
        server.wait_for_ready(1)
        get(server.port, "/thread")
        server.send(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert "the thread has finished" in server.log


def test_a_time_limit_of_months_is_waited_for() -> None:
    with Server("examples.hello:app", "--timeout-worker-healthcheck", "30000000") as server:
        server.wait_for_ready(1)
        assert get(server.port, "/").status == 200
        assert server.stop() == 0


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_standard_streams_that_are_closed_are_no_obstacle(closed: tuple[int, ...], tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "socket")
    redirections = " ".join(f"{fd}>&-" for fd in closed)
    command = f'exec "{sys.executable}" -m tricorn examples.hello:app --uds "{path}" {redirections}'
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: process.poll() is not None or len(psutil.Process(process.pid).children()) == 1)
        wait_until(lambda: os.path.exists(path))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tricorn", "examples.hello:app", "--port", "0", "--workers", "2"],
        cwd=ROOT,
        env=environment(),
        stdout=writer,
        stderr=writer,
        start_new_session=True,
    )
    os.close(writer)
    try:
        said = b""
        while said.count(b"ready in") < 2:
            said += os.read(reader, 65536)
        port = int(said.split(b"http://127.0.0.1:")[1].split()[0])
        for _ in range(3000):
            assert get(port, "/").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(reader)
