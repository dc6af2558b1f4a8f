"""A stop or reload that waits says for what: the decisions, and the words."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.harness import Server, raw_connection, send_request
from support.told import Told
from tricorn.ipc.channel import FROM_WORKER, WAITING
from tricorn.ipc.waits import Waits, describe, name_request
from tricorn.supervisor.child import read_waits
from tricorn.supervisor.messages import Drain, Exited, Kill, Ready, Waiting
from tricorn.supervisor.orders import Reload, Stop

PROBE = "tests.apps.probe:app"

STREAM = Waits(requests=1, oldest="GET /stream", age=4.2, connections=1)
MANY = Waits(requests=2, oldest="POST /upload", age=9.0, connections=5)
IDLE = Waits(requests=0, oldest="", age=0.0, connections=2)
SHUTDOWN = Waits(requests=0, oldest="", age=0.0, connections=0)


@pytest.mark.parametrize(
    ("waits", "text"),
    [
        ([STREAM], "1 request (GET /stream, 4 s)"),
        ([STREAM, MANY, IDLE], "3 requests (the oldest: POST /upload, 9 s)"),
        ([IDLE, SHUTDOWN], "2 connections"),
        ([SHUTDOWN], "the application's shutdown"),
    ],
)
def test_words(waits: list[Waits], text: str) -> None:
    assert describe(waits) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("GET /a?token=secret", "GET /a"),
        ("GET /" + "a" * 1000, "GET /" + "a" * 95 + "..."),
        ("GET /\x1b[2J\n\r\u202eevil", "GET /?[2J???evil"),
    ],
)
def test_names_of_requests_are_short_and_printable(name: str, shown: str) -> None:
    assert name_request(name) == shown


@pytest.mark.parametrize("oldest", ["x" * 10**5, "\n", "", "GET /\x1b[2J"])
@pytest.mark.parametrize("number", [0, 1, 2**53])
def test_whatever_a_worker_may_say_is_one_short_line(number: int, oldest: str) -> None:
    message = {"kind": WAITING, "requests": number, "oldest": oldest, "age": -number, "connections": number}
    text = describe([read_waits(FROM_WORKER[WAITING].apply(message))])
    assert len(text) < 200
    assert text.isprintable()


def ready(workers: int = 1, **options: float) -> Told:
    told = Told(workers, **options)
    told.tell(*(Ready(worker) for worker in told.fleet.workers))
    told.said.clear()
    return told


@pytest.mark.parametrize(("typed", "how"), [(True, "Ctrl-C again to stop now"), (False, "a second signal stops now")])
def test_a_stop_that_waits_says_for_what(typed: bool, how: str) -> None:
    told = ready(workers=2)
    told.tell(Stop(delayed=False, typed=typed))
    told.tell(Waiting(1, STREAM), Waiting(2, IDLE), after=1)
    assert told.texts() == ["Stopping"]
    told.tell(after=0.5)
    assert told.texts()[1:] == [f"Waiting for 1 request (GET /stream, 5 s), up to 30 s; {how}"]
    told.tell(Waiting(1, STREAM), after=5)
    assert len(told.texts()) == 2


def test_a_worker_that_says_nothing_is_named() -> None:
    told = ready(workers=2)
    told.tell(Stop())
    told.tell(Exited(2, "exit code 0"), after=1)
    told.tell(after=1)
    assert told.texts()[-1].startswith("Waiting for worker 0, up to 30 s")


def test_a_stop_that_does_not_wait_says_nothing() -> None:
    told = ready()
    told.tell(Stop())
    told.tell(Exited(1, "exit code 0"), after=1)
    assert not [text for text in told.texts() if text.startswith("Waiting")]


def test_a_stop_at_once_says_nothing_more() -> None:
    told = ready()
    told.tell(Stop(delayed=False, typed=True))
    assert told.tell(Stop(delayed=False, typed=True), after=0.6) == [Kill(1)]
    told.tell(after=1)
    assert told.texts() == ["Stopping", "Stopping at once"]


def test_a_reload_is_complete_when_the_old_workers_are_gone() -> None:
    told = ready()
    told.tell(Reload())
    assert told.tell(Ready(2), after=0.5) == [Drain(1, patient=True)]
    assert not [text for text in told.texts() if "complete" in text]
    told.tell(Exited(1, "exit code 0"), after=0.1)
    assert told.texts()[-1] == "Reload complete in 0.5 s"


def test_or_it_says_for_what_they_wait() -> None:
    told = ready()
    told.tell(Reload())
    told.tell(Ready(2), after=0.5)
    told.tell(Waiting(1, STREAM), after=1)
    told.tell(after=0.5)
    assert told.texts()[-1] == "Reload complete in 0.5 s; 1 old worker waits for 1 request (GET /stream, 5 s)"
    told.tell(Exited(1, "exit code 0"), after=10)
    assert told.texts()[-1] == "drained: exit code 0"


@pytest.mark.parametrize("order", [Reload(), Stop()])
def test_what_comes_before_that_does_not_silence_it(order: Reload | Stop) -> None:
    told = ready()
    told.tell(Reload())
    told.tell(Ready(2), after=0.5)
    told.tell(order, after=0.1)
    assert [text for text in told.texts() if text.startswith("Reload complete in 0.5 s")]


# ---- real processes


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_stop_tells(workers: str, tmp_path: Path) -> None:
    with Server(PROBE, "--workers", workers) as server, raw_connection(server.port) as connection:
        server.wait_for_log("ready in|running on")
        send_request(connection, f"/slow?until={tmp_path / 'until'}&token=secret")
        server.wait_for_log("slow begins")
        server.send(signal.SIGTERM)
        server.wait_for_log(r"Waiting for 1 request \(GET /slow, \d+ s\), up to 30 s; (a second signal|SIGINT) stops now\n")
        (tmp_path / "until").touch()
        assert server.wait_for_exit() == 0
        assert "secret" not in server.log.partition("Waiting for")[2].partition("\n")[0]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_the_grace_was_too_short_for_is_told(workers: str) -> None:
    options = ("--workers", workers, "--timeout-graceful-shutdown", "1")
    with Server(PROBE, *options) as server, raw_connection(server.port) as connection:
        server.wait_for_log("ready in|running on")
        send_request(connection, "/slow?seconds=60")
        server.wait_for_log("slow begins")
        assert server.stop() == 0
        server.wait_for_log(r"Cancelled, because the grace is over: 1 request \(GET /slow, \d+ s\)")


def test_a_reload_tells_for_what_old_workers_wait(tmp_path: Path) -> None:
    with Server(PROBE) as server, raw_connection(server.port) as connection:
        server.wait_for_ready(1)
        send_request(connection, f"/slow?until={tmp_path / 'until'}")
        server.wait_for_log("slow begins")
        server.send(signal.SIGHUP)
        server.wait_for_log(r"Reload complete in [\d.]+ s; 1 old worker waits for 1 request \(GET /slow, \d+ s\)")
        (tmp_path / "until").touch()
        server.wait_for_log("drained: exit code 0")


def test_a_slow_shutdown_of_the_application_is_told(tmp_path: Path) -> None:
    (tmp_path / "slow_end.py").write_text(
        "import asyncio\n"
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.complete'})\n"
        "    await receive()\n"
        "    await asyncio.sleep(3)\n"
        "    await send({'type': 'lifespan.shutdown.complete'})\n"
    )
    with Server("slow_end:app", "--app-dir", str(tmp_path)) as server:
        server.wait_for_ready(1)
        server.send(signal.SIGTERM)
        server.wait_for_log("Waiting for the application's shutdown, up to 30 s")
        assert server.wait_for_exit() == 0
