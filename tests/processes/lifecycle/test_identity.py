"""Where the supervisor listens, lives and writes its pid, and as whom it runs."""

from __future__ import annotations

import os
import pwd
import socket
import stat
from pathlib import Path

import pytest
from support.harness import ROOT, Client, Server, get, run_tricorn, wait_until

PROBE = "tests.apps.probe:app"
IS_ROOT = os.geteuid() == 0


def test_several_binds(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        inherited.listen()
        binds = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}", "--bind", f"fd://{inherited.fileno()}", "--bind=[::1]:0")
        server = Server(PROBE, *binds, "--uds-permissions", "600", listen=())
        server.pass_fds = (inherited.fileno(),)
        with server:
            server.wait_for_ready(1)
            tcp = int(server.wait_for_log(r"http://127.0.0.1:(\d+),").group(1))
            server.wait_for_log(r"http://\[::1\]:\d+")
            assert get(tcp).status == get(inherited.getsockname()[1]).status == 200
            client = Client(uds=path)
            assert client.get("/").status == 200
            client.close()
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert server.stop() == 0
            assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("--bind", "nonsense"), 2, "--bind nonsense: must be HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N"),
        (("--bind", "a:99999"), 2, "--bind a:99999: must be HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N"),
        (("--bind", "192.0.2.1:80"), 1, "--bind 192.0.2.1:80: not an address of this machine"),
        (("--bind", "unix:/nowhere/socket"), 1, "--bind unix:/nowhere/socket: No such file or directory"),
        (("--bind", "fd://77"), 1, "--bind fd://77: no such descriptor is open"),
        (("--bind", "a:1", "--port", "80"), 2, "--port 80: --bind says where to listen; say it there, too"),
        (("--uds-permissions", "888"), 2, "--uds-permissions 888: must be a mode in octal, such as 660"),
        (("--chdir", "/nowhere"), 2, "--chdir /nowhere: No such file or directory"),
        (("--user", "nobody-has-this-name", "--port", "0"), 2, "--user nobody-has-this-name: there is no such user"),
        (("--group", "no-such-group", "--port", "0"), 2, "--group no-such-group: there is no such group"),
        (("--pid-file", "/nowhere/pid", "--port", "0"), 1, "--pid-file /nowhere/pid: No such file or directory"),
        (("--umask", "x"), 2, "--umask x: must be a mode in octal, such as 660"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], code: int, error: str) -> None:
    ended = run_tricorn(PROBE, *arguments)
    assert (ended.returncode, ended.stderr) == (code, f"Error: {error}\n")


def test_chdir_comes_before_everything_but_the_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / "app_here.py").write_text("from tests.apps.probe import app\n")
    config = tmp_path / "settings.toml"
    config.write_text(f"chdir = '{tmp_path}'\nerror-log-file = 'error.log'\n")
    arguments = ("--config", os.path.relpath(config, ROOT), "--port=0")
    with Server("app_here:app", *arguments, listen=(), env={"PYTHONPATH": str(ROOT)}) as server:
        log = tmp_path / "error.log"
        wait_until(lambda: log.exists() and "ready in" in log.read_text())
        assert os.readlink(f"/proc/{server.workers()[0]}/cwd") == str(tmp_path)
        # Read again from where it was found.
        server.send(1)
        wait_until(lambda: "Reload complete" in log.read_text(), what=log.read_text())


def test_umask(tmp_path: Path) -> None:
    with Server(PROBE, "--umask", "027") as server:
        server.wait_for_ready(1)
        status = Path(f"/proc/{server.workers()[0]}/status").read_text()
        assert "Umask:\t0027" in status


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_user_and_group(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    path, pid, log = tmp_path / "socket", tmp_path / "pid", tmp_path / "access.log"
    arguments = ("--user", "nobody", "--pid-file", str(pid), "--access-log-file", str(log), "--bind", f"unix:{path}")
    # An application that needs no more of the library: nobody may not be allowed to read the Python of who runs the tests.
    with Server("examples.hello:app", *arguments, "--bind", "127.0.0.1:0", listen=()) as server:
        server.wait_for_ready(1)
        assert len(server.workers()) == 1
        for process in server.workers():
            status = Path(f"/proc/{process}/status").read_text()
            ids = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert set(ids["Uid"].split()) == {str(nobody.pw_uid)}
            assert set(ids["Gid"].split()) == {str(nobody.pw_gid)}
            assert "0" not in ids["Groups"].split()
        # Only who connects needs the rights of the service's user; a process that it has taken over shall not rewrite logs.
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (nobody.pw_uid, nobody.pw_gid)
        assert {os.stat(file).st_uid for file in (pid, log)} == {0}
        assert server.stop() == 0
        assert not path.exists()
        assert not pid.exists()


@pytest.mark.skipif(IS_ROOT, reason="root can")
def test_who_is_not_root_cannot_become_somebody_else() -> None:
    ended = run_tricorn(PROBE, "--user", "root", "--port", "0")
    assert ended.returncode == 1
    assert "only root can become somebody else" in ended.stderr
