"""What is said when: trace lines, when it serves, what a hang was, what is not listened on; and the exit codes of mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.harness import Client, Server, get, raw_connection, run_tricorn, send_request
from support.told import Told
from tricorn.supervisor.messages import Exited, Kill, Ready, Recycle, ReportHang, Say

PROBE = "tests.apps.probe:app"


@pytest.mark.parametrize("workers", ["1", "0"])
def test_trace_shows_asgi_messages_without_their_contents(workers: str) -> None:
    with Server(PROBE, "--log-level", "trace", "--workers", workers) as server:
        server.wait_for_log("ready in|running on")
        client = Client(server.port)
        client.ask("POST", "/upload", b"x" * 1000, {"Cookie": "secret"})
        name = rf"127\.0\.0\.1:{client.sock.getsockname()[1]} - HTTP ASGI \[\d+\]"
        client.close()
        server.wait_for_log(rf"TRACE: +{name} Started scope=.*'path': '/upload'")
        server.wait_for_log(rf"TRACE: +{name} Receive .*'body': '<1000 bytes>'")
        server.wait_for_log(rf"TRACE: +{name} Send .*'http.response.start'.*'headers': '<...>'")
        server.wait_for_log(rf"TRACE: +{name} Send .*'body': '<4 bytes>'")
        server.wait_for_log(rf"TRACE: +{name} Completed")
        assert server.stop() == 0
        assert "LIFESPAN ASGI [1] Receive {'type': 'lifespan.shutdown'}" in server.log
        assert "secret" not in server.log


def test_debug_shows_none() -> None:
    with Server(PROBE, "--log-level", "debug") as server:
        server.wait_for_ready(1)
        get(server.port, "/pid")
        assert server.stop() == 0
        assert "ASGI [" not in server.log


def test_serving_is_said_when_somebody_serves() -> None:
    with Server("tests.apps.never_starts:app") as server:
        server.wait_for_log("never_starts waits")
        assert server.stop() == 0
        assert "press CTRL+C" not in server.log
    with Server(PROBE, "--workers", "2") as server:
        server.wait_for_ready(2)
        assert server.stop() == 0
        assert server.log.count(f"Serving {PROBE} on http://127.0.0.1:{server.port} (press CTRL+C to quit)") == 1
        assert server.log.index("ready in") < server.log.index("press CTRL+C")


def test_a_hangs_line_stands_above_its_stacks() -> None:
    with Server(PROBE, "--timeout-worker-healthcheck", "2") as server:
        server.wait_for_ready(1)
        with raw_connection(server.port) as connection:
            send_request(connection, "/hang")
            server.wait_for_log("what it was doing")
        assert server.log.index("hung: its event loop") < server.log.index("what it was doing")


@pytest.mark.parametrize("situation", ["starting", "ready", "draining"])
def test_why_a_worker_is_killed_is_said_before_it_is(situation: str) -> None:
    told = Told(workers=2)
    if situation != "starting":
        told.tell(Ready(1), Ready(2))
    if situation == "draining":
        told.tell(Recycle(1, "old"))
        told.tell(Ready(3))
    while ReportHang(1) not in told.tell(after=1):
        pass
    told.tell(Exited(2, "exit code 0"))
    actions = told.fleet.handle([], told.now + 0.5)
    said = next(action for action in actions if isinstance(action, Say) and action.worker == 1)
    assert actions.index(said) < actions.index(Kill(1))


def test_exit_in_the_lifespans_shutdown_shows_one_stack(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(
        "import sys\n"
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.complete'})\n"
        "    await receive()\n"
        "    sys.exit(7)\n"
    )
    with Server("leaves:app", "--app-dir", str(tmp_path)) as server:
        server.wait_for_ready(1)
        assert server.stop() == 0
        assert server.log.count("Traceback") == 1
        assert server.log.count("SystemExit: 7") == 1


@pytest.mark.parametrize("options", [("--workers", "1"), ("--workers", "0")])
def test_a_port_beside_a_unix_socket_is_not_dropped_in_silence(options: tuple[str, ...], tmp_path: Path) -> None:
    listen = ("--uds", str(tmp_path / "socket"), "--port", "9999")
    server = Server(PROBE, *options, listen=listen)
    server.start()
    try:
        server.wait_for_log("ready in|running on")
        assert "--port is not listened on, because --uds is given" in server.log
        assert "--host" not in server.log
        assert server.stop() == 0
    finally:
        server.__exit__(None)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--ssl-certfile", "/nowhere.pem"), 2),
        (("--ssl-certfile", os.devnull), 2),
        (("--user", "nobody-of-this-name"), 2),
        (("--user", "54321"), 2),
        (("--user", "4294967295"), 2),
        (("--group", "no-group-of-this-name"), 2),
        (("--group", "4294967295"), 2),
        (("--chdir", "/nowhere"), 2),
        (("--env-file", "/nowhere"), 2),
        (("--error-log-file", "/nowhere/log"), 2),
        (("--log-config", "/nowhere"), 2),
        (("--config", "/nowhere"), 2),
        (("--host", "no-such-host.invalid"), 1),
        (("--host", "192.0.2.1"), 1),
        (("--uds", "/nowhere/socket"), 1),
        (("--fd", "77"), 1),
        (("--pid-file", "/nowhere/pid"), 1),
    ],
)
@pytest.mark.parametrize("workers", ["1", "0"])
def test_exit_codes_of_mistakes(options: tuple[str, str], code: int, workers: str) -> None:
    if workers == "0" and options[0] in ("--user", "--group", "--pid-file"):
        pytest.skip("needs a supervisor")
    ended = run_tricorn(PROBE, "--workers", workers, "--port", "0", *options)
    assert ended.returncode == code, ended.stderr
    assert options[0] in ended.stderr
