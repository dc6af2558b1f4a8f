"""Signals with real processes: which are one wish to stop, those of the first moment, those that the parent has blocked."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.harness import PATIENCE, Server, get, pass_time, raw_connection, read_response, send_request

PROBE = "tests.apps.probe:app"
ALONE = ("--workers", "0")


@contextmanager
def slow_request(server: Server, until: Path) -> Iterator[None]:
    """A request in flight, which must be answered in the end."""
    with raw_connection(server.port) as connection:
        send_request(connection, f"/slow?until={until}")
        server.wait_for_log("slow begins")
        yield
        until.touch()
        assert read_response(connection).body == b"slow ends"


@pytest.mark.parametrize("options", [("--workers", "2"), ALONE])
@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGINT, signal.SIGTERM),
    ],
)
def test_signals_that_come_together_abort_nothing(numbers: tuple[int, ...], options: tuple[str, ...], tmp_path: Path) -> None:
    with Server(PROBE, *options) as server:
        server.wait_for_log(r"ready in|running on")
        with slow_request(server, tmp_path / "until"):
            for number in numbers:
                server.send_to_group(number) if number == signal.SIGINT else server.send(number)
                pass_time(0.1)
        assert server.wait_for_exit() == 0
        assert "at once" not in server.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_alone_a_later_second_signal_stops_at_once(number: int, tmp_path: Path) -> None:
    with Server(PROBE, *ALONE) as server, raw_connection(server.port) as connection:
        server.wait_for_log("running on")
        send_request(connection, f"/slow?until={tmp_path / 'never'}")
        server.wait_for_log("slow begins")
        server.send(number)
        server.wait_for_log("shutting down")
        pass_time(2.1)
        # Well before the grace of thirty seconds.
        assert server.stop(number, timeout=15) == 0


# ---- the first moment


EARLY = """
import os, sys
from tricorn.cli.main import main
from tricorn.supervisor import early
listen = early.listen
def listen_and_be_told():
    listen()
    for number in {numbers}:
        os.kill(os.getpid(), number)
early.listen = listen_and_be_told
sys.exit(main(sys.argv[1:]))
"""


def early(app: str, *options: str, numbers: tuple[int, ...]) -> Server:
    """A server that gets the signals as soon as it hears any: long before there is a supervisor."""
    server = Server(app, *options)
    server.command[1:3] = ["-c", EARLY.format(numbers=[int(number) for number in numbers])]
    return server


@pytest.mark.parametrize("options", [("--workers", "1"), ALONE])
def test_signals_of_the_first_moment_do_not_kill(options: tuple[str, ...]) -> None:
    with early(PROBE, *options, numbers=(signal.SIGHUP, signal.SIGUSR1)) as server:
        server.wait_for_log(r"ready in|running on")
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0


def test_a_reload_of_the_first_moment_is_carried_out() -> None:
    with early(PROBE, numbers=(signal.SIGHUP, signal.SIGTTIN)) as server:
        server.wait_for_log("reload")
        server.wait_for_workers(2)
        assert server.stop() == 0


@pytest.mark.parametrize("options", [("--workers", "1"), ALONE])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_of_the_first_moment_is_a_stop(number: int, options: tuple[str, ...]) -> None:
    server = early(PROBE, *options, numbers=(number,))
    server.start()
    try:
        assert server.process.wait(timeout=PATIENCE) == 0
        assert server.log == ""
    finally:
        server.__exit__(None)


# ---- blocked by the parent


SCRIPT = """
import signal, tricorn
before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
tricorn.run("tests.apps.signal_mask:app", port=0, workers=2)
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before and signal.SIGTERM in before
"""


@contextmanager
def blocking(server: Server, numbers: Collection[int]) -> Iterator[Server]:
    """The server, started by a process that has blocked ``numbers``; a mask is inherited (sigprocmask(2))."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        server.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        server.port = int(server.wait_for_log(r"https?://[^\s:/]*:(\d+)").group(1))
        yield server
    finally:
        server.__exit__(None)


@pytest.mark.parametrize("options", [("--workers", "1"), ALONE, SCRIPT])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_that_the_parent_has_blocked_are_heard(number: int, options: tuple[str, ...] | str) -> None:
    server = Server("tests.apps.signal_mask:app", *options)
    if options == SCRIPT:
        server.command[1:] = ["-c", SCRIPT]
    with blocking(server, signal.valid_signals()):
        server.wait_for_log(r"ready in|running on")
        assert get(server.port).body == b"[]"
        assert server.stop(number) == 0, server.log


def test_workers_forked_by_the_template_have_a_clean_mask_too(tmp_path: Path) -> None:
    (tmp_path / "mask.py").write_text(Path("tests/apps/signal_mask.py").read_text() + "\nimport h11\n")
    server = Server("mask:app", "--reload", "--app-dir", str(tmp_path), "--reload-dir", str(tmp_path), "--log-level", "debug")
    with blocking(server, (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM)):
        server.wait_for_log("imported once")
        (tmp_path / "mask.py").open("a").write("\n")
        server.wait_for_log("reloaded in")
        assert get(server.port).body == b"[]"
        assert server.stop() == 0


def test_timeouts_term_reaches_the_group_and_is_one_wish(tmp_path: Path) -> None:
    """timeout(1) sends TERM to its child, and to the whole group, with its child in it."""
    server = Server(PROBE)
    server.command = ["timeout", "3", *server.command]
    with server:
        server.wait_for_ready(1)
        with slow_request(server, tmp_path / "until"):
            server.wait_for_log("stopping")
            pass_time(0.3)
        # What timeout(1) says when the time was over.
        assert server.wait_for_exit() == 124
        assert "at once" not in server.log
