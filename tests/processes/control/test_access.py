"""Where the control socket is, and who may use it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.control import ctl, run_ctl, status
from support.harness import ROOT, Server, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

APP = "examples.hello:app"
STRANGER, UNKNOWN = 65534, 54321
"""Another user, and one whom /etc/passwd does not know."""


def as_user(user: int) -> list[str]:
    """How to run a program as ``user``, who may read all files: the Python of who runs the tests may be hidden from others."""
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [find("setpriv"), f"--reuid={user}", f"--regid={user}", "--clear-groups", *reads, "--"]


def find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def ctl_as(user: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*as_user(user), sys.executable, "-B", "-m", "tricorn.control", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=30)


@root_only
def test_only_root_and_the_own_user_may_talk() -> None:
    server = Server(APP)
    server.command = [*as_user(UNKNOWN), *server.command]
    # No home, no name, nothing that would say where to put a file.
    server.env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    with server:
        server.wait_for_ready(1)
        assert ctl_as(UNKNOWN, "--pid", str(server.pid), "reload").returncode == 0
        assert ctl(server, "status").returncode == 0
        refused = ctl_as(STRANGER, "--pid", str(server.pid), "status")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert len(refused.stderr.splitlines()) == 1
        assert str(server.pid) not in ctl_as(STRANGER, "status").stderr
        assert insist(server) == b""
        assert ctl(server, "status").returncode == 0
        assert "WARN" not in server.log
        assert "ERROR" not in server.log


def insist(server: Server) -> bytes:
    """What a stranger gets who does not look whom he talks to, without the refusal."""
    program = f"""
import socket
s = socket.socket(socket.AF_UNIX)
s.connect(chr(0) + "tricorn/{server.pid}")
try:
    s.sendall(b'{{"command": "stop"}}' + bytes([10]))
    while data := s.recv(4096):
        print(data.decode())
except OSError:
    pass
"""
    asked = subprocess.run([*as_user(STRANGER), sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    return re.sub(rb'\{"error": "only root and user \d+ may talk to this supervisor"\}\s*', b"", asked.stdout)


@root_only
def test_a_file_system_that_is_read_only_is_no_trouble() -> None:
    folders = " ".join({"/tmp", "/run", "/var/tmp", tempfile.gettempdir()})
    script = f"for at in {folders}; do mount -t tmpfs -o ro none $at || exit 77; done; exec env -i PATH=$PATH "
    server = Server(APP)
    command = " ".join([sys.executable, "-B", *server.command[1:]])
    server.command = [find("unshare"), "--mount", "sh", "-c", script + command]
    with tempfile.TemporaryFile() as log:
        tried = subprocess.run(
            [find("unshare"), "--mount", "mount", "-t", "tmpfs", "-o", "ro", "none", "/tmp"], stderr=log, check=False
        )
    if tried.returncode != 0:
        pytest.skip("may not mount here")
    with server:
        server.wait_for_ready(1)
        assert ctl(server, "reload").returncode == 0
        assert "WARN" not in server.log
        assert "ERROR" not in server.log


@root_only
def test_the_only_supervisor_is_found(place: Path) -> None:
    # Abstract sockets belong to the network namespace, so in a new one there are none of other tests.
    isolated = [find("unshare"), "--net", "--"]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("may not make a network namespace here")
    server = Server(APP, listen=("--uds", str(place / "http")))
    server.command = [*isolated, *server.command]
    enter = [find("nsenter"), "--net", "--target"]
    with server:
        server.wait_for_ready(1)
        command = [*enter, str(server.pid), sys.executable, "-m", "tricorn.control", "status", "--json"]
        found = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=30)
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["supervisor"]["pid"] == server.pid


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose name is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="control") as name:
        yield Path(name)


def test_a_file_is_for_its_owner_alone_and_goes_with_the_server(place: Path) -> None:
    path = place / "control"
    with Server(APP, "--control-socket", str(path)) as server:
        server.wait_for_ready(1)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert run_ctl("--socket", str(path), "status").returncode == 0
        # The variable that sets the option says to tricornctl, too, where to meet.
        assert run_ctl("reload", env=environment() | {"TRICORN_CONTROL_SOCKET": str(path)}).returncode == 0
        assert server.stop() == 0
    assert not path.exists()


def test_a_file_that_was_left_behind_is_replaced_and_a_living_one_is_not(place: Path) -> None:
    path = place / "control"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with Server(APP, "--control-socket", str(path)) as server:
        server.wait_for_ready(1)
        with Server(APP, "--control-socket", str(path), "--log-level", "debug") as other:
            other.wait_for_ready(1)
            assert f"DEBUG:    No control socket {path}: --control-socket {path}: another server owns it" in other.log
            assert other.stop() == 0
        assert run_ctl("--socket", str(path), "status", "--json").stdout.count(f'"pid": {server.pid}') == 1


@pytest.mark.parametrize("path", ["none", "/nonexistent/directory/socket", "/tmp/" + "x" * 200])
def test_without_a_socket_the_server_serves(path: str) -> None:
    with Server(APP, "--control-socket", path) as server:
        server.wait_for_ready(1)
        assert ctl(server, "status").returncode == 1
        assert "control" not in server.log
        assert server.stop() == 0


def test_a_fleet_that_reloads_by_itself_has_it_as_well(tmp_path: Path) -> None:
    (tmp_path / "saved.py").write_text("from examples.hello import app as app\n")
    arguments = ("--reload", "--app-dir", str(tmp_path), "--reload-dir", str(tmp_path))
    with Server("saved:app", *arguments, env={"PYTHONPATH": str(ROOT)}) as server:
        server.wait_for_ready(1)
        assert ctl(server, "reload").returncode == 0
        (tmp_path / "saved.py").write_text("import nothing_of_this_name\n")
        server.wait_for_log("shows this error")
        ended = ctl(server, "reload")
        assert ended.returncode == 3
        assert "nothing_of_this_name" in ended.stderr
        assert status(server)["supervisor"]["ready"] == 1


def test_a_program_that_runs_workers_has_it_and_one_process_alone_has_not(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"import tricorn\nif __name__ == '__main__':\n    tricorn.run({APP!r}, port=0, workers=2)\n")
    server = Server(APP, env={"PYTHONPATH": str(ROOT)})
    server.command = [sys.executable, str(program)]
    with server:
        supervisor = server.wait_for_log(r"Supervisor \[(\d+)\]").group(1)
        server.wait_for_ready(2)
        assert run_ctl("--pid", supervisor, "resize", "1").returncode == 0
    with Server(APP, "--workers", "0") as server:
        server.wait_for_log("running on")
        assert ctl(server, "status").returncode == 1
