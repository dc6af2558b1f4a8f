"""Log files: what each line begins with, and what happens when they can't be written."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import pytest
from support.harness import Client, Server, get, run_tricorn

PROBE = "tests.apps.probe:app"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def started(server: Server, log: Path) -> int:
    """Wait until the worker is ready, and find the port in the file."""
    server.wait_until(lambda: log.exists() and "ready in" in log.read_text())
    found = re.search(r"http://127.0.0.1:(\d+)", log.read_text())
    assert found
    return int(found[1])


def fill(log: Path) -> None:
    """Make the file longer than what is on standard error, which is a file in tests, too, and is not to be cut short."""
    log.write_text("before\n" * 20_000)


def let_grow(pid: int, size: int) -> None:
    """Let files that the process writes to grow to ``size`` bytes: what is beyond fails as on a full disk."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_each_record_in_a_file_tells_time_level_and_process(tmp_path: Path) -> None:
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    files = ("--error-log-file", str(error), "--access-log-file", str(access))
    with Server(PROBE, *files, listen=("--port=0",)) as server:
        port = started(server, error)
        worker = int(get(port, "/pid").body)
        assert get(port, "/fail").status == 500
        server.wait_until(lambda: "/fail" in access.read_text())
        assert server.stop() == 0
    for line in access.read_text().splitlines():
        assert re.fullmatch(rf'{TIME} INFO:     worker 0 \[{worker}\]: 127.0.0.1:\d+ - "GET /\w+ HTTP/1.1" .*', line), line
    lines = [line for line in error.read_text().splitlines() if re.match(TIME, line)]
    assert re.fullmatch(rf"{TIME} INFO:     supervisor \[{server.pid}\]: Tricorn .* starts .*", lines[0]), lines
    assert any(re.fullmatch(rf"{TIME} ERROR:    worker 0 \[{worker}\]: .*", line) for line in lines), lines
    assert "INFO:" not in server.log


def test_terminals_and_the_journal_add_their_own_time() -> None:
    with Server(PROBE) as server:
        get(server.port)
        server.wait_for_log(r'INFO:     127.0.0.1:\d+ - "GET / HTTP/1.1"')
        assert not re.search(TIME, server.log)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_access_log_that_can_not_be_written(form: str, tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    fill(access)
    with Server(PROBE, "--access-log-file", str(access), "--log-format", form) as server:
        worker = int(get(server.port, "/pid").body)
        server.wait_until(lambda: "/pid" in access.read_text())
        # In the middle of the next line.
        let_grow(worker, access.stat().st_size + 20)
        for number in range(20):
            assert get(server.port, f"/lost{number}").status == 404
        trouble = f"--access-log-file {access}: File too large; log lines are lost until it can be written again"
        server.wait_for_log(re.escape(trouble))
        let_grow(worker, resource.RLIM_INFINITY)
        get(server.port, "/slot")
        told = server.wait_for_log(
            re.escape(f"--access-log-file {access}: can be written again; log lines lost by this process: ") + r"(\d+)"
        )
        # The last ones may have been answered before, and written after, there was room again.
        assert int(told[1]) + access.read_text().count("/lost") == 20
        assert server.log.count("File too large") == server.log.count("written again; log") == 1
        # What was torn does not hide what comes after it.
        server.wait_until(lambda: "/slot" in access.read_text().splitlines()[-1])
        assert server.stop() == 0


def test_an_error_log_that_can_not_be_written(tmp_path: Path) -> None:
    error = tmp_path / "error.log"
    fill(error)
    with Server(PROBE, "--error-log-file", str(error), "--no-access-log", listen=("--port=0",)) as server:
        port = started(server, error)
        worker = int(get(port, "/pid").body)
        let_grow(worker, error.stat().st_size)
        for _ in range(10):
            assert get(port, "/fail").status == 500
        server.wait_for_log(re.escape(f"ERROR:    --error-log-file {error}: File too large; log lines are lost until"))
        let_grow(worker, resource.RLIM_INFINITY)
        get(port, "/fail")
        server.wait_until(lambda: "can be written again; log lines lost by this process:" in error.read_text())
        assert error.read_text().count("ValueError: the application's own fault") == 1
        assert len(server.log.splitlines()) == 2, server.log
        assert server.stop() == 0


def test_a_log_on_a_full_device(tmp_path: Path) -> None:
    logs = ("--access-log-file", "/dev/full", "--error-log-file", "/dev/full")
    with Server(PROBE, *logs, listen=("--uds", f"{tmp_path}/socket")) as server:
        server.wait_for_log("--error-log-file /dev/full: No space left on device")
        client = Client(uds=f"{tmp_path}/socket")
        assert client.get("/fail").status == 500
        client.close()
        assert server.stop() == 0
        # What there is to say of the access log belongs into the error log, and is lost.
        assert server.log.count("No space left") == 1
        assert "Traceback" not in server.log


def test_a_fifo_that_nobody_reads(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    ended = run_tricorn(PROBE, "--error-log-file", str(fifo), "--port", "0")
    assert (ended.returncode, ended.stderr) == (2, f"Error: --error-log-file {fifo}: no process reads this FIFO\n")
