"""``--warm-path``: a worker asks its own application before it says that it is ready."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.harness import ROOT, Server, environment, get, run_tricorn

APP = "tests.apps.warm:app"
WARM = ("--warm-path", "/first?a=1", "--warm-path", "/missing")


def asked_of(server: Server) -> tuple[int, list[str]]:
    """The pid of the worker that answers, and what its application was asked before."""
    pid, *asked = get(server.port, "/").body.decode().splitlines()
    return int(pid), asked


@pytest.mark.parametrize("workers", [0, 1])
def test_a_client_never_meets_a_cold_application(workers: int) -> None:
    with Server(APP, "--workers", str(workers), *WARM) as server:
        if workers:
            server.wait_for_ready(1)
        _, asked = asked_of(server)
        assert asked[:2] == ["GET /first?a=1 warm", "GET /missing? warm"]
        assert "--warm-path /missing: answered 404" in server.log
        # Neither stands in the access log.
        server.wait_for_log(r'"GET / HTTP/1.1" 200')
        assert '"GET /first' not in server.log
        assert server.stop() == 0


def test_reloads_crashes_and_recycling_start_warm_workers() -> None:
    with Server(APP, "--limit-max-requests", "40", *WARM) as server:
        server.wait_for_ready(1)
        first, asked = asked_of(server)
        assert len(asked) == 3
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        second, asked = asked_of(server)
        assert second != first
        assert asked[0].endswith("warm")
        subprocess.run(["kill", "-9", str(second)], check=True)
        server.wait_for_ready(3)
        third, asked = asked_of(server)
        assert third not in (first, second)
        assert asked[0].endswith("warm")
        for _ in range(40):
            get(server.port)
        server.wait_for_ready(4)
        server.wait_until(lambda: asked_of(server)[0] != third)
        assert asked_of(server)[1][0].endswith("warm")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("503", "--warm-path /: the application answered 503"),
        ("raises", 'raise RuntimeError("cold")\nRuntimeError: cold'),
        ("exits", "the application raised SystemExit"),
        ("returns", "--warm-path /: the application returned without completing its response"),
        ("streams", r"--warm-path /: no answer within --timeout-worker-startup(, it waits at tests/apps/warm.py:\d+ app)?"),
        ("waits", r"--warm-path /: no answer within --timeout-worker-startup, it waits at tests/apps/warm.py:\d+ app"),
    ],
)
def test_a_failure_is_a_failed_start(how: str, what: str, workers: int, tmp_path: Path) -> None:
    (tmp_path / "how").write_text(how)
    options = ("--port", "0", "--workers", str(workers), "--warm-path", "/", "--timeout-worker-startup", "2")
    done = run_tricorn(APP, *options, env={"HOW": str(tmp_path / "how")})
    assert done.returncode == 3, done.stderr
    assert what in done.stderr or re.search(what, done.stderr), done.stderr
    # What has started up is shut down.
    assert "shut down" in done.stdout


def test_a_reload_that_fails_at_the_path_is_abandoned_and_no_client_sees_it(tmp_path: Path) -> None:
    how = tmp_path / "how"
    how.write_text("")
    with Server(APP, "--workers", "2", "--warm-path", "/", env={"HOW": str(how)}) as server:
        server.wait_for_ready(2)
        how.write_text("503")
        server.send(signal.SIGHUP)
        server.wait_for_log("--warm-path /: the application answered 503")
        server.wait_for_log("Reload abandoned")
        assert get(server.port).status == 200
        how.write_text("")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        assert server.stop() == 0


def test_with_reload_the_developer_sees_the_error(tmp_path: Path) -> None:
    how = tmp_path / "how"
    how.write_text("raises")
    with Server(APP, "--reload", "--warm-path", "/", env={"HOW": str(how)}) as server:
        server.wait_for_log("RuntimeError: cold")
        answer = get(server.port)
        assert answer.status == 500
        assert b"RuntimeError: cold" in answer.body
        assert server.stop() == 0


def test_a_worker_that_warms_up_is_called_off_at_once(tmp_path: Path) -> None:
    how = tmp_path / "how"
    how.write_text("waits")
    with Server(APP, "--warm-path", "/", env={"HOW": str(how)}) as server:
        server.wait_until(lambda: server.workers())
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10


def test_a_program_that_runs_tricorn_warms_up_too(tmp_path: Path) -> None:
    (tmp_path / "how").write_text("503")
    code = f"import tricorn; tricorn.run({APP!r}, port=0, warm_path=('/',))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment({"HOW": str(tmp_path / "how")}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "--warm-path /: the application answered 503" in done.stderr


def test_a_path_that_is_none_is_the_operators_mistake() -> None:
    done = run_tricorn(APP, "--warm-path", "first")
    assert done.returncode == 2
    assert "--warm-path first: must begin with /" in done.stderr
