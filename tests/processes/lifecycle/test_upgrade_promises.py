"""What upgrades promise: under load of every kind, as process 1, under systemd, for another user, from release to release."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from support.certificates import Authority
from support.control import ctl
from support.crowd import Crowd, by_tcp, by_unix
from support.harness import Server, children_of, environment, get, wait_until
from support.upgrades import descriptors, wait_for_upgrades

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand memory over")

PROBE = "tests.apps.probe:app"
MIXED = "tests.apps.mixed:app"
UPGRADES = int(os.environ.get("TEST_UPGRADES", "4"))
"""So many under load; by hand a hundred."""


def counted(server: Server) -> dict[str, float]:
    """All counters of the metrics that only grow."""
    lines = ctl(server, "metrics").stdout.splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples if "_total" in name or "_count" in name or "_bucket" in name}


def connected_clients(server: Server) -> int:
    """Connections of the supervisor itself: to clients of its control socket."""
    name = f"@tricorn/{server.pid}"
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    # Of a listener the state is 1, of a connection 3 (net/unix, proc(5)).
    return sum(row[-1] == name and row[5] == "03" for row in rows)


@pytest.mark.parametrize("tls", [False, True])
def test_under_load_nothing_fails_and_nothing_grows(tls: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    options = ["--ssl-certfile", certificate, "--ssl-keyfile", key] if tls else []
    listen = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}")
    pid_file = tmp_path / "pid"
    with Server(
        MIXED,
        "--workers",
        "2",
        "--no-access-log",
        "--ws-ping-interval",
        "600",
        "--pid-file",
        str(pid_file),
        *options,
        listen=listen,
    ) as server:
        port = int(server.wait_for_log(r"https?://127.0.0.1:(\d+)").group(1))
        server.wait_for_ready(2)
        workers = server.workers()
        ways = {"TLS": by_tcp(port, authority.client())} if tls else {"TCP": by_tcp(port), "UNIX socket": by_unix(path)}
        with Crowd(ways) as crowd:
            before, memory, opened = counted(server), list[int](), descriptors(server.pid)
            for number in range(1, UPGRADES + 1):
                server.send(signal.SIGUSR2)
                wait_for_upgrades(server, number)
                crowd.wait_for_more(2)
                if number == 1:
                    # A program that was executed has opened what the first one opens later.
                    wait_until(lambda: not connected_clients(server))
                    opened = descriptors(server.pid)
                memory.append(psutil.Process(server.pid).memory_info().rss)
                after = counted(server)
                assert all(after[name] >= value for name, value in before.items())
                before = after
            assert crowd.failures == []
        assert server.workers() == workers
        # A client of the control socket may just be leaving.
        server.wait_until(lambda: descriptors(server.pid) <= opened, what=f"more than {opened} descriptors")
        assert max(memory) - min(memory) < 2**20, f"memory: {memory}"
        # The pid file is still locked, and the socket's file is removed at the end.
        second = subprocess.run(
            [*server.command[:3], PROBE, "--port", "0", "--pid-file", str(pid_file)],
            capture_output=True,
            text=True,
            check=False,
            cwd=server.cwd,
            env=server.env,
        )
        assert "holds it and is alive" in second.stderr
        assert server.stop() == 0
        assert not os.path.exists(path)
        assert not pid_file.exists()


def test_systemd_is_told_of_a_reload_and_hears_signs_of_life_again(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        said: list[str] = []

        def wait_for(line: str) -> str:
            while True:
                lines = systemd.recv(4096).decode().splitlines()
                said.extend(lines)
                if line in lines:
                    return " ".join(lines)

        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with Server(PROBE, env=env) as server:
            wait_for("READY=1")
            for _ in range(2):
                said.clear()
                server.send(signal.SIGUSR2)
                assert "MONOTONIC_USEC=" in wait_for("RELOADING=1")
                wait_for("WATCHDOG_USEC=60000000")
                assert f"MAINPID={server.pid}" in wait_for("READY=1")
                if "WATCHDOG_USEC=2000000" not in said:
                    wait_for("WATCHDOG_USEC=2000000")
                wait_for("WATCHDOG=1")
                assert "STOPPING=1" not in said
            # What is refused is over, too.
            server.send(signal.SIGTERM)
            wait_for("STOPPING=1")
            assert server.wait_for_exit() == 0


def can_unshare() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "-pf", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no process namespaces are permitted here")
def test_as_process_1_of_a_namespace() -> None:
    server = Server(PROBE, "--workers", "2", "--control-socket", "none")
    server.command = ["unshare", "-pf", "--mount-proc", *server.command]
    with server:
        server.wait_for_ready(2)
        (inner,) = children_of(server.pid)
        workers = sorted(children_of(inner))
        for number in range(1, 3):
            os.kill(inner, signal.SIGUSR2)
            wait_for_upgrades(server, number)
            assert get(server.port, "/pid").status == 200
        assert sorted(children_of(inner)) == workers
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for_log("crashed: killed by SIGKILL")
        wait_until(lambda: len(children_of(inner)) == 2)
        os.kill(inner, signal.SIGTERM)
        assert server.wait_for_exit() == 0


def test_the_admin_listener_and_hooks_go_on(tmp_path: Path) -> None:
    admin, told = tmp_path / "admin", tmp_path / "told"
    env = {"HOOKS_TOLD": str(told)}
    with Server(PROBE, "--admin-bind", f"unix:{admin}", "--hooks", "tests.apps.hooks:All", env=env) as server:
        server.wait_for_ready(1)
        wait_until(lambda: told.exists() and "on_fleet_ready" in told.read_text())

        def ask(path: str) -> bytes:
            with by_unix(str(admin))() as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
                return answer

        assert ask("/readyz").startswith(b"HTTP/1.1 200")
        before = children_of(server.pid)
        for number in range(1, 3):
            server.send(signal.SIGUSR2)
            # At any moment there is somebody who answers.
            while "has taken over" not in server.log.partition("executing")[2]:
                assert ask("/livez").startswith(b"HTTP/1.1 200")
            wait_for_upgrades(server, number)
            assert ask("/readyz").startswith(b"HTTP/1.1 200")
        found = json.loads(ask("/status").partition(b"\r\n\r\n")[2])
        assert found["supervisor"]["ready"] == 1
        # The worker and the hook runner are the same; the admin process is another.
        wait_until(lambda: len(set(children_of(server.pid)) & set(before)) == 2 and len(children_of(server.pid)) == 3)
        assert server.stop() == 0
        assert told.read_text().count('"on_fleet_ready"') == told.read_text().count('"on_fleet_stopped"') == 1


# ------------------------------------------------------------------------------------------------ from release to release


class Releases:
    """Environments with a Tricorn each, and a link ``current`` to one of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.current = directory / "current"
        (directory / "shop.py").write_text((Path(__file__).parents[2] / "apps" / "probe.py").read_text())

    def make(self, name: str, wheel: Path) -> Path:
        """An environment with what is in the wheel; the other packages are those of the tests' environment."""
        made = self.directory / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True, timeout=120)
        (packages,) = made.glob("lib/python3*/site-packages")
        shutil.unpack_archive(str(wheel), packages, "zip")
        (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
        return packages / "tricorn"

    def switch(self, name: str) -> None:
        """Let the link lead to an environment, at once."""
        new = self.directory / "new"
        new.symlink_to(self.directory / name)
        new.rename(self.current)


def build(source: Path, version: str, out: Path) -> Path:
    """A wheel of that version. Skips the test if none can be built here."""
    copy = out / f"source-{version}"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("src", "pyproject.toml", "README.md", "LICENSE"):
        if (source / name).is_dir():
            shutil.copytree(source / name, copy / name, ignore=ignored)
        else:
            shutil.copy(source / name, copy / name)
    (copy / "src" / "version.py").write_text(f'"""Which Tricorn this is."""\n\n__version__ = "{version}"\n')
    # Without isolation the build needs no network, but only a setuptools of the version that pyproject.toml asks for can do it.
    recent = int(importlib.metadata.version("setuptools").split(".")[0]) >= 77 if find_spec("setuptools") else False
    command = [sys.executable, "-m", "build", "--wheel", *(["--no-isolation"] if recent else []), "--outdir", str(out)]
    built = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False, timeout=300)
    if built.returncode != 0:
        pytest.skip(f"no wheel can be built here: {built.stderr[-300:]}")
    (wheel,) = out.glob(f"tricorn-{version}-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("wheels")
    root = Path(__file__).parents[3]
    return build(root, "7.0.0", out), build(root, "7.1.0", out)


@pytest.fixture
def releases(tmp_path: Path, wheels: tuple[Path, Path]) -> Releases:
    made = Releases(tmp_path)
    for name, wheel in zip(("old", "new-release"), wheels, strict=True):
        made.make(name, wheel)
    made.switch("old")
    return made


def serve(releases: Releases) -> Server:
    server = Server("shop:app", "--workers", "2", "--app-dir", str(releases.directory), "--control-socket", "none")
    server.command[0] = str(releases.current / "bin" / "python")
    server.cwd = releases.directory
    server.env = environment()
    return server


def test_from_one_release_to_the_next_and_back(releases: Releases) -> None:
    with serve(releases) as server:
        server.wait_for_ready(2)
        workers = server.workers()
        assert "Tricorn 7.0.0 starts" in server.log
        releases.switch("new-release")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Tricorn 7.1.0 has taken over from 7.0.0, with 2 workers")
        assert server.workers() == workers
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        releases.switch("old")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Tricorn 7.0.0 has taken over from 7.1.0, with 2 workers")
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0


def test_a_release_that_fails_after_it_was_executed_is_left_for_the_old_one(releases: Releases) -> None:
    (package,) = releases.directory.glob("new-release/lib/python3*/site-packages/tricorn")
    with serve(releases) as server:
        server.wait_for_ready(2)
        workers = server.workers()
        # The check does not come so far.
        file = package / "supervisor" / "build.py"
        file.write_text(file.read_text().replace("def build(self)", "def build_nothing(self)"))
        releases.switch("new-release")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Tricorn 7.1.0 on Python .* can take over")
        server.wait_for_log("Upgrade failed: AttributeError: .*; Tricorn 7.0.0 goes on")
        assert server.workers() == workers
        assert get(server.port, "/pid").status == 200
        assert server.stop() == 0


def test_a_release_with_another_state_is_refused(releases: Releases) -> None:
    (package,) = releases.directory.glob("new-release/lib/python3*/site-packages/tricorn")
    file = package / "supervisor" / "upgrade" / "state.py"
    file.write_text(file.read_text().replace("SCHEMA = 1\n", "SCHEMA = 2\n"))
    with serve(releases) as server:
        server.wait_for_ready(2)
        releases.switch("new-release")
        server.send(signal.SIGUSR2)
        server.wait_for_log("Upgrade refused: Tricorn 7.1.0 can't take over from 7.0.0, whose state has version 1 and not 2")
        assert get(server.port, "/pid").status == 200
