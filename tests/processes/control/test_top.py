"""``tricornctl top`` in a real pseudo-terminal: what is on the screen, what keys do, and that the terminal is given back."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.control import run_ctl
from support.harness import APPS, Server
from support.pty_screen import Screen

STUCK = ("stuck:app", "--app-dir", str(APPS))


def top(server: Server, columns: int = 80, lines: int = 24, **env: str) -> Screen:
    return Screen([sys.executable, "-m", "tricorn.control", "top", "--pid", str(server.pid)], columns, lines, env)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(*STUCK, "--workers", "2") as server:
        server.wait_for_log(r"Serving")
        server.wait_for_log(r"Worker 0 \[\d+\] ready")
        server.wait_for_log(r"Worker 1 \[\d+\] ready")
        yield server


@pytest.fixture
def screen(server: Server) -> Iterator[Screen]:
    with top(server) as screen:
        screen.wait_for_text("SLOT")
        yield screen


def slots(screen: Screen) -> list[str]:
    """The slots in the order in which they stand there."""
    rows = [line for line in screen.lines if line[:4].lstrip(" >").isdigit()]
    return [row[:4].lstrip(" >") for row in rows]


def test_it_shows_the_fleet_and_q_leaves(server: Server, screen: Screen) -> None:
    assert screen.lines[0].startswith(f"stuck:app on http://127.0.0.1:{server.port}")
    assert f"[{server.pid}] up " in screen.lines[1]
    assert "2 of 2 ready" in screen.lines[1]
    assert slots(screen) == ["0", "1"]
    assert screen.lines[-1].startswith("q quit")
    # Rates are there from the second answer on.
    screen.wait_for(lambda screen: screen.lines[5].split()[5:7] == ["0", "0"], "a rate")
    screen.type("q")
    assert screen.wait_for_end() == 0
    assert screen.is_restored()
    assert b"\x1b[31m" not in screen.output


def test_keys_select_and_sort(screen: Screen) -> None:
    assert screen.reversed_lines == [4, 5, len(screen.lines) - 1]
    screen.type("\x1b[B")
    screen.wait_for(lambda screen: screen.lines[6].startswith(">  1"), "the selection")
    screen.type("s")
    screen.wait_for(lambda screen: slots(screen) == ["1", "0"], "the other order")
    assert screen.lines[5].startswith(">  1")
    screen.type("s")
    screen.wait_for(lambda screen: slots(screen) == ["0", "1"], "the first order")


def test_it_follows_the_size_of_the_terminal(screen: Screen) -> None:
    for columns, lines in ((120, 40), (50, 12), (80, 24)):
        screen.resize(columns, lines)
        screen.wait_for(lambda screen: screen.lines[-1].startswith("q quit") and slots(screen) == ["0", "1"], "the new size")
        assert len(screen.lines) == lines
        assert screen.text.count("q quit") == 1


def test_enter_shows_a_workers_requests_and_stacks() -> None:
    with (
        Server(*STUCK) as server,
        top(server) as screen,
        closing(socket.create_connection(("127.0.0.1", server.port))) as client,
    ):
        client.sendall(b"GET /wait?token=secret HTTP/1.1\r\nHost: a\r\n\r\n")
        screen.wait_for_text("1 in flight")
        screen.type("\r")
        screen.wait_for_text("Request in flight: GET /wait (")
        screen.wait_for_text("await asyncio.sleep(SECONDS)")
        screen.wait_for_text("told by its event loop")
        assert "secret" not in screen.text
        screen.type("\x1b")
        screen.wait_for_text("SLOT")
        with closing(socket.create_connection(("127.0.0.1", server.port))) as blocking:
            blocking.sendall(b"GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n")
            screen.wait_for(lambda screen: float(screen.lines[5].split()[10]) > 0.5, "lag")
            screen.type("\r")
            screen.wait_for_text("in block")
            screen.wait_for_text("its event loop does not turn")
            screen.type("q")
            assert screen.wait_for_end() == 0
            assert screen.is_restored()


def test_what_happens_to_the_fleet_stands_below() -> None:
    with Server(*STUCK) as server, top(server) as screen:
        screen.wait_for_text("SLOT")
        (worker,) = psutil.Process(server.pid).children()
        os.kill(worker.pid, signal.SIGKILL)
        screen.wait_for_text(f"Worker 0 [{worker.pid}] is gone: crashed: killed by SIGKILL")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda value: str(value)
)
def test_a_signal_gives_the_terminal_back(screen: Screen, number: signal.Signals, code: int) -> None:
    screen.kill(number)
    assert screen.wait_for_end() == code
    assert screen.is_restored()


def test_ctrl_c_gives_the_terminal_back(screen: Screen) -> None:
    screen.type("\x03")
    assert screen.wait_for_end() == 130
    assert screen.is_restored()


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(screen: Screen) -> None:
    process = psutil.Process(screen.process.pid)
    screen.type("\x1a")
    screen.wait_for(lambda screen: process.status() == psutil.STATUS_STOPPED, "the stop")
    screen.read()
    assert screen.is_restored()
    screen.kill(signal.SIGCONT)
    screen.wait_for(lambda screen: "SLOT" in screen.text and not screen.is_restored(), "the picture")
    screen.type("q")
    assert screen.wait_for_end() == 0
    assert screen.is_restored()


def test_when_the_supervisor_goes_it_says_so() -> None:
    with Server(*STUCK) as server, top(server) as screen:
        screen.wait_for_text("SLOT")
        os.kill(server.pid, signal.SIGTERM)
        assert screen.wait_for_end() == 1
        assert screen.is_restored()
        said = screen.output.index(b"tricornctl: the supervisor went away")
        assert said > screen.output.index(b"\x1b[?1049l")


def test_a_supervisor_that_does_not_answer_is_named_and_q_leaves_all_the_same() -> None:
    with Server(*STUCK) as server, top(server) as screen:
        screen.wait_for_text("SLOT")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            screen.wait_for_text("The supervisor has not answered for")
            screen.type("q")
            assert screen.wait_for_end() == 0
            assert screen.is_restored()
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_an_exception_gives_the_terminal_back(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(path)
        listener.listen()

        def answer_nonsense() -> None:
            connection, _ = listener.accept()
            with connection:
                greeting = {"tricorn": "0", "version": 1, "pid": os.getpid(), "app": "a:b"}
                connection.sendall(json.dumps(greeting).encode() + b"\n")
                connection.recv(4096)
                connection.sendall(b'{"code": 0, "answer": {"workers": 7}}\n')
                connection.recv(4096)

        threading.Thread(target=answer_nonsense, daemon=True).start()
        with Screen([sys.executable, "-m", "tricorn.control", "top", "--socket", path]) as screen:
            assert screen.wait_for_end() == 1
            assert b"\x1b[?1049h" in screen.output
            assert screen.is_restored()
            assert b"Error" in screen.output


def test_without_a_terminal_it_is_one_line_and_exit_code_2(server: Server) -> None:
    done = run_ctl("top", "--pid", str(server.pid))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    with top(server, TERM="dumb") as screen:
        assert screen.wait_for_end() == 2


def test_colours_can_be_left_out() -> None:
    with Server("tests.apps.slow_start:app") as server, top(server, NO_COLOR="1") as screen:
        screen.wait_for_text("SLOT")
        screen.type("q")
        screen.wait_for_end()
        assert b"\x1b[33m" not in screen.output
