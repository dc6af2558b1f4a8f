"""The file with the supervisor's process id: a lock on it decides whose it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.harness import ROOT, Server, children_of, environment, is_alive, run_tricorn, wait_until

APP = "examples.hello:app"


@pytest.mark.parametrize(
    "content",
    ["999999999\n", f"{os.getpid()}\n", "1", "0\n", "-1\n", "1" * 20, "1" * 5000, "", "no number", b"\xff\x00\xfe"],
    ids=["gone", "stranger", "init", "zero", "minus one", "twenty digits", "thousands of digits", "empty", "words", "binary"],
)
def test_what_stands_in_a_file_that_nobody_holds_does_not_matter(content: str | bytes, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with Server(APP, "--pid-file", str(file)) as server:
        server.wait_for_ready(1)
        assert file.read_text() == f"{server.pid}\n"
        assert server.stop() == 0
        assert not file.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_supervisor_holds(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with Server(APP, "--pid-file", str(file)) as server:
        server.wait_for_ready(1)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        for content, who in ((None, f"process {server.pid}"), ("rubbish\n", "another server"), ("", "another server")):
            if content is not None:
                file.write_text(content)
            ended = run_tricorn(APP, "--pid-file", str(file), "--port", "0")
            assert (ended.returncode, ended.stderr) == (1, f"Error: --pid-file {file}: {who} holds it and is alive\n")
        # What tools have written into it, or not, is no reason to leave it behind.
        assert server.stop() == 0
        assert not file.exists()


def test_a_file_that_was_replaced_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with Server(APP, "--pid-file", str(file)) as server:
        file.rename(tmp_path / "moved")
        server.wait_for_ready(1)
        with Server(APP, "--pid-file", str(file)) as successor:
            successor.wait_for_ready(1)
            assert server.stop() == 0
            assert file.read_text() == f"{successor.pid}\n"
            assert successor.stop() == 0
        assert not file.exists()


def test_a_supervisor_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with Server(APP, "--pid-file", str(file)) as server:
        server.wait_for_ready(1)
        worker = server.workers()[0]
        # As one that can't finish: what the supervisor has forked must not hold the lock.
        os.kill(worker, signal.SIGSTOP)
        server.send(signal.SIGKILL)
        server.process.wait()
        assert is_alive(worker)
        with Server(APP, "--pid-file", str(file)) as successor:
            assert file.read_text() == f"{successor.pid}\n"
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not is_alive(worker))


@pytest.mark.parametrize("kind", ["link", "link to nothing", "directory", "fifo"])
def test_what_is_no_file_of_ours_is_left_alone(kind: str, tmp_path: Path) -> None:
    file, other = tmp_path / "pid", tmp_path / "other"
    other.write_text("precious")
    if kind == "directory":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        file.symlink_to(other if kind == "link" else tmp_path / "new")
    ended = run_tricorn(APP, "--pid-file", str(file), "--port", "0")
    causes = {"directory": "Is a directory", "fifo": "is not a regular file"}
    assert (ended.returncode, ended.stderr) == (1, f"Error: --pid-file {file}: {causes.get(kind, 'is a symbolic link')}\n")
    assert other.read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == [other, file]


def test_of_many_that_start_at_once_one_gets_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.write_text("0\n")
    command = [sys.executable, "-m", "tricorn", APP, "--port", "0", "--pid-file", str(file)]
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    try:
        wait_until(lambda: sum(one.poll() is None for one in started) == 1)
        (left,) = [one for one in started if one.poll() is None]
        wait_until(lambda: children_of(left.pid))
        assert file.read_text() == f"{left.pid}\n"
        assert {one.returncode for one in started if one is not left} == {1}
        left.send_signal(signal.SIGTERM)
        assert left.wait(30) == 0
        assert not file.exists()
    finally:
        for one in started:
            one.kill()
            one.communicate()
