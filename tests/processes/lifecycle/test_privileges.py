"""What root does for a service that runs as another user: it opens what only root may, and follows nobody's links."""

from __future__ import annotations

import os
import pwd
import signal
import ssl
import stat
from pathlib import Path

import pytest
from support.certificates import Authority
from support.harness import Server, get, run_tricorn, wait_until
from tricorn.config import identity as identities
from tricorn.config.identity import Identity, find
from tricorn.errors import ConfigError

APP = "examples.hello:app"
"""It needs no more of the library: the service's user may not be allowed to read the Python of who runs the tests."""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def home(place: Path) -> Path:
    """A directory of the service's user."""
    made = place / "home"
    made.mkdir()
    os.chown(made, nobody().pw_uid, nobody().pw_gid)
    return made


@pytest.fixture
def treasure(place: Path) -> Path:
    """A file of root's, in a directory that only root may write to, which root alone reads."""
    vault = place / "vault"
    vault.mkdir()
    file = vault / "treasure"
    file.write_text("precious")
    file.chmod(0o600)
    return file


def nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def is_untouched(treasure: Path) -> bool:
    found = treasure.lstat()
    untouched = (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600) and treasure.read_text() == "precious"
    return untouched and os.listdir(treasure.parent) == ["treasure"]


# -------------------------------------------------------------------------------------------------------------- the rule


def test_who_can_change_what_a_path_leads_to(place: Path, home: Path) -> None:
    service = Identity(nobody().pw_uid, nobody().pw_gid, (nobody().pw_gid,))
    (place / "own").mkdir()
    (place / "link").symlink_to("own")
    (place / "to-home").symlink_to(home)
    (home / "inner").mkdir()
    (home / "back").symlink_to(place / "own")
    shared = place / "shared"
    shared.mkdir()
    os.chown(shared, 0, nobody().pw_gid)
    shared.chmod(0o775)
    others = place / "others"
    others.mkdir()
    os.chown(others, 1, 1)
    sticky = place / "sticky"
    (sticky / "own").mkdir(parents=True)
    (sticky / "link").symlink_to(place / "own")
    sticky.chmod(0o1777)
    (place / "turning").symlink_to("turning")
    cases = {
        "file": False,
        "own/file": False,
        "own/../own/file": False,
        "link/file": False,
        "missing/file": False,
        "home/file": True,
        "home/inner/file": True,
        "home/back/file": True,
        "to-home/file": True,
        "shared/file": True,
        "others/file": True,
        "sticky/file": True,
        "sticky/link/file": True,
        "sticky/own/file": False,
        "turning/file": True,
    }
    assert {path: service.can_change(f"{place}/{path}") for path in cases} == cases
    assert not service.can_change("/dev/stderr")


def test_acting_gives_the_rights_back(place: Path, home: Path) -> None:
    service = Identity(nobody().pw_uid, nobody().pw_gid, (nobody().pw_gid,))
    before = os.geteuid(), os.getegid(), os.getgroups()
    with service.acting(), service.acting():
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (service.user, service.group, [service.group])
        with pytest.raises(PermissionError):
            (place / "new").touch()
        (home / "new").touch()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    assert (home / "new").stat().st_uid == service.user


@pytest.mark.parametrize(
    ("user", "group", "error"),
    [
        ("4711", None, "--user 4711: no entry in the user database says its group; give --group"),
        ("99999999999999999999999", None, "--user 99999999999999999999999: there is no such user"),
        ("4294967295", "1", "--user 4294967295: there is no such user"),
        ("nobody", "4294967295", "--group 4294967295: there is no such group"),
        ("-1", None, "--user -1: there is no such user"),
        ("\u00b2", None, "--user \u00b2: there is no such user"),
    ],
)
def test_users_that_cannot_be(user: str, group: str | None, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        find(user, group)


def test_a_number_without_an_entry_gets_its_group_alone() -> None:
    assert find("4711", "4712") == Identity(4711, 4712, (4712,))
    with Server(APP, "--user", "4711", "--group", "4712") as server:
        server.wait_for_ready(1)
        status = Path(f"/proc/{server.workers()[0]}/status").read_text()
        lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert (set(lines["Uid"].split()), set(lines["Gid"].split())) == ({"4711"}, {"4712"})
        assert lines["Groups"].split() == ["4712"]
        assert int(lines["CapPrm"], 16) == int(lines["CapEff"], 16) == 0


def test_nobody_is_asked_who_we_are_already() -> None:
    assert identities.find(None, None) is None
    assert identities.find("root", None) is None


# ----------------------------------------------------------------------------------------------------------------- links


OPTIONS = ("--error-log-file", "--access-log-file", "--pid-file", "--uds")


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("where", ["final", "final, to nothing", "directory"])
def test_a_link_of_the_services_user_is_not_followed_by_root(option: str, where: str, home: Path, treasure: Path) -> None:
    if where == "directory":
        (home / "log").symlink_to(treasure.parent)
        path = home / "log" / treasure.name
    else:
        (home / "file").symlink_to(treasure if where == "final" else treasure.parent / "new")
        path = home / "file"
    os.lchown(path if where != "directory" else path.parent, nobody().pw_uid, nobody().pw_gid)
    listen = () if option == "--uds" else ("--port", "0")
    ended = run_tricorn(APP, "--user", "nobody", option, str(path), *listen)
    assert (ended.returncode in (1, 2), ended.stderr.count("\n")) == (True, 1)
    assert ended.stderr.startswith(f"Error: {option} {path}: ")
    assert is_untouched(treasure)


def test_links_put_there_later_are_not_followed_either(home: Path, treasure: Path) -> None:
    log, uds, pid = home / "log", home / "socket", home / "pid"
    options = ("--error-log-file", str(log), "--uds", str(uds), "--pid-file", str(pid))
    with Server(APP, "--user", "nobody", *options, listen=()) as server:
        wait_until(lambda: log.exists() and "ready in" in log.read_text())
        assert {file.stat().st_uid for file in (log, uds, pid)} == {nobody().pw_uid}
        moved = log.rename(home / "moved")
        for file in (log, uds, pid):
            file.unlink(missing_ok=True)
            file.symlink_to(treasure)
        server.send(signal.SIGUSR1)
        wait_until(lambda: f"--error-log-file {log}: Permission denied" in moved.read_text())
        assert server.stop() == 0
    assert is_untouched(treasure)
    assert {file.is_symlink() for file in (log, uds, pid)} == {True}


def test_a_fifo_in_the_place_of_a_log_does_not_stop_the_supervisor(home: Path) -> None:
    log = home / "log"
    with Server(APP, "--user", "nobody", "--error-log-file", str(log), listen=("--port=0",)) as server:
        wait_until(lambda: log.exists() and "ready in" in log.read_text())
        moved = log.rename(home / "moved")
        os.mkfifo(log)
        os.chown(log, nobody().pw_uid, nobody().pw_gid)
        server.send(signal.SIGUSR1)
        wait_until(lambda: f"--error-log-file {log}: No such device or address" in moved.read_text())
        assert server.stop() == 0


def test_settings_that_the_services_user_can_change_open_nothing_as_root(home: Path, treasure: Path) -> None:
    settings = home / "tricorn.toml"
    settings.write_text("workers = 1\n")
    with Server(APP, "--user", "nobody", "--config", str(settings)) as server:
        server.wait_for_ready(1)
        settings.write_text(f"error-log-file = '{treasure}'\n")
        server.send(signal.SIGHUP)
        server.wait_for_log(f"configuration is broken: --error-log-file {treasure}: Permission denied")
        settings.write_text(f"ssl-certfile = '{treasure}'\n")
        server.send(signal.SIGHUP)
        server.wait_for_log(f"configuration is broken: --ssl-certfile {treasure}: Permission denied")
        assert get(server.port).status == 200
    assert is_untouched(treasure)


def test_check_config_imports_the_application_as_the_user(home: Path) -> None:
    (home / "who.py").write_text("import os\nprint('imported by', os.geteuid(), os.getgroups())\ndef app(): ...\n")
    ended = run_tricorn("who:app", "--app-dir", str(home), "--user", "nobody", "--interface", "asgi3", "--check-config")
    assert f"imported by {nobody().pw_uid} [{nobody().pw_gid}]" in ended.stdout


# ------------------------------------------------------------------------------------------------- what only root may do


def test_directories_that_the_user_may_not_read_are_named(place: Path) -> None:
    """Python takes them for empty, and says only that a module is missing."""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "main.py").write_text("async def app(scope, receive, send): ...\n")
    ended = run_tricorn("main:app", "--user", "nobody", "--app-dir", str(closed), "--port", "0")
    assert ended.returncode == 3
    assert "APP main:app: no module named 'main'" in ended.stderr
    assert f"Nothing can be imported from where the user of this process may not read: {closed}" in ended.stderr


def test_logs_in_a_directory_of_roots_are_opened_again(treasure: Path) -> None:
    error, access = treasure.parent / "error.log", treasure.parent / "access.log"
    treasure.parent.chmod(0o700)
    options = ("--error-log-file", str(error), "--access-log-file", str(access), "--workers", "2")
    with Server(APP, "--user", "nobody", *options, listen=("--bind", "127.0.0.1:0")) as server:
        wait_until(lambda: error.exists() and error.read_text().count("ready in") == 2)
        port = int(error.read_text().split("http://127.0.0.1:")[1].split()[0])
        for file in (error, access):
            file.rename(f"{file}.1")
        server.send(signal.SIGUSR1)
        workers = set(server.workers())

        def all_log_anew() -> bool:
            get(port)
            return access.exists() and all(f"[{pid}]" in access.read_text() for pid in workers)

        server.wait_until(all_log_anew)
        assert server.stop() == 0
        assert "Stopped" in error.read_text()
        assert "Permission" not in error.read_text() + server.log


def test_a_key_that_only_root_may_read_is_read_again_at_a_reload(place: Path) -> None:
    authority = Authority(place)
    chain, key = authority.issue()
    Path(key).chmod(0o600)

    def served(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port))

    with Server(APP, "--user", "nobody", "--ssl-certfile", chain, "--ssl-keyfile", key) as server:
        server.wait_for_ready(1)
        before = served(server.port)
        Path(authority.issue()[1]).chmod(0o600)
        server.wait_for_log("Only the supervisor may read it, so send SIGHUP to that")
        assert served(server.port) == before
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        server.wait_until(lambda: len(server.workers()) == 1)
        assert served(server.port) != before
        # A worker that dies is no obstacle.
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for_ready(3)
        assert served(server.port) != before
        assert "ERROR:    TLS" not in server.log


def test_pid_file_and_socket_in_a_directory_of_roots_are_removed(place: Path) -> None:
    uds, pid = place / "socket", place / "pid"
    with Server(APP, "--user", "nobody", "--uds", str(uds), "--pid-file", str(pid), listen=()) as server:
        server.wait_for_ready(1)
        assert (uds.stat().st_uid, pid.stat().st_uid) == (nobody().pw_uid, 0)
        assert server.stop() == 0
        assert not uds.exists()
        assert not pid.exists()
        assert "stays behind" not in server.log
