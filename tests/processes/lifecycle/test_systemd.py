"""Under systemd: sockets that it passes, and what it is told, with the descriptors and variables set as systemd sets them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.harness import Client, Server, get, wait_until

PROBE = "tests.apps.probe:app"
LAUNCH = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
LAUNCH += "os.execv(sys.executable, [sys.executable, '-m', 'tricorn', *sys.argv[2:]])"
"""What systemd does between fork and exec: the socket becomes descriptor 3, LISTEN_PID the process's own."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made


def test_sockets_are_found_by_themselves(listener: socket.socket) -> None:
    app = "tests.apps.interfaces:environment"
    port = listener.getsockname()[1]
    server = Server(app, listen=())
    server.command = [sys.executable, "-c", LAUNCH, str(listener.fileno()), app]
    server.pass_fds = (listener.fileno(),)
    with server:
        server.wait_for_ready(1)
        assert f"http://127.0.0.1:{port}" in server.log
        # The application, and whom it starts, shall not take them for its own.
        assert get(port, "/?LISTEN_FDS,LISTEN_PID").body == b"unset unset"
        assert server.stop() == 0


@pytest.mark.parametrize("option", ["--uds", "--bind"])
def test_sockets_beside_a_given_address_are_warned_of(listener: socket.socket, tmp_path: Path, option: str) -> None:
    path = tmp_path / "http.sock"
    server = Server(PROBE, listen=())
    given = str(path) if option == "--uds" else f"unix:{path}"
    server.command = [sys.executable, "-c", LAUNCH, str(listener.fileno()), PROBE, option, given]
    server.pass_fds = (listener.fileno(),)
    with server:
        server.wait_for_ready(1)
        assert f"The sockets of systemd (LISTEN_FDS) are not listened on, because {option} is given" in server.log
        assert server.stop() == 0


def test_sockets_for_another_process_are_left_alone() -> None:
    with Server(PROBE, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as server:
        assert get(server.port).status == 200


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd is not installed")
def test_activated_by_systemd_itself(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = Server(PROBE, listen=())
    server.command = ["systemd-socket-activate", "-l", path, *server.command]
    with server:
        client = Client(uds=path)
        wait_until(lambda: is_connected(client))
        assert client.get("/pid").status == 200
        client.close()


def is_connected(client: Client) -> bool:
    try:
        client.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        # Not bound yet, or not listening.
        client.close()
        return False
    return True


class NotifySocket:
    """Systemd's end."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(30)
        self.told: list[dict[str, str]] = []

    def wait_for(self, name: str, value: str = "1") -> dict[str, str]:
        """The next message that sets ``name`` so."""
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            self.told.append(dict(line.split("=", 1) for line in lines))
            if self.told[-1].get(name) == value:
                return self.told[-1]


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    made = NotifySocket(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def test_it_is_told_how_the_fleet_is(notify: NotifySocket) -> None:
    with Server(PROBE, "--workers", "2", env={"NOTIFY_SOCKET": notify.path}) as server:
        ready = notify.wait_for("READY")
        # Not when the first worker was.
        assert server.log.count("ready in") == 2
        assert ready["MAINPID"] == str(server.pid)
        notify.wait_for("STATUS", "2 of 2 workers ready")
        before = time.monotonic()
        server.send(signal.SIGHUP)
        reloading = notify.wait_for("RELOADING")
        assert before <= int(reloading["MONOTONIC_USEC"]) / 1e6 <= time.monotonic()
        notify.wait_for("READY")
        # The old workers may still be there.
        server.wait_for_log("Reload complete")
        server.send(signal.SIGTERM)
        notify.wait_for("STOPPING")
        assert server.wait_for_exit() == 0


def test_a_fleet_that_never_starts_is_never_ready(notify: NotifySocket) -> None:
    server = Server("tests.apps.broken:app", env={"NOTIFY_SOCKET": notify.path}, listen=("--port=0",))
    server.command = [part for part in server.command if part != "--port"]
    server.start()
    try:
        notify.wait_for("STOPPING")
        assert server.wait_for_exit() == 3
        assert not any("READY" in message for message in notify.told)
    finally:
        server.__exit__(None, None, None)


def test_the_watchdog_is_fed_while_nothing_happens(notify: NotifySocket) -> None:
    with Server(PROBE, env={"NOTIFY_SOCKET": notify.path, "WATCHDOG_USEC": "200000"}):
        notify.wait_for("READY")
        began = time.monotonic()
        for _ in range(30):
            notify.wait_for("WATCHDOG")
        # Every tenth of a second; with the workers' beats, which are once a second, it would take thirty.
        assert time.monotonic() - began < 20


def test_an_abstract_address(tmp_path: Path) -> None:
    name = f"tricorn-test-{os.getpid()}"
    heard = NotifySocket("\0" + name)
    try:
        with Server(PROBE, env={"NOTIFY_SOCKET": f"@{name}"}):
            heard.wait_for("READY")
    finally:
        heard.socket.close()
