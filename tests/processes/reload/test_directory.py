"""Deploys that put another directory where the server's was: by a symbolic link, or by deleting and making anew."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from support.editing import APPLICATION, wait_for_answer
from support.harness import ROOT, Server, get
from tricorn.config.directory import current


def release(folder: Path, version: str) -> Path:
    folder.mkdir()
    (folder / "main.py").write_text(APPLICATION.format(version=version))
    # As archives and images unpack them: the times do not tell one release from the other.
    os.utime(folder, (1, 1))
    return folder


def link(name: Path, target: Path) -> None:
    """As `ln -sfn` does, in one step."""
    (name.parent / "new").symlink_to(target)
    (name.parent / "new").rename(name)


def served_from(folder: Path, *arguments: str) -> Server:
    """A server that a shell has started in ``folder``."""
    server = Server("main:app", "--no-access-log", *arguments)
    server.cwd = folder
    server.env |= {"PWD": str(folder), "PYTHONPATH": str(ROOT)}
    return server


def crash(server: Server) -> None:
    """Kill the only worker, and wait until there is another one."""
    count = server.log.count("ready in")
    [worker] = server.workers()
    os.kill(worker, signal.SIGKILL)
    server.wait_for_log("ready in", count=count + 1)


@pytest.mark.parametrize("how", ["absolute --chdir", "relative --chdir", "PWD"])
def test_a_reload_follows_a_link_that_leads_elsewhere(tmp_path: Path, how: str) -> None:
    first, second, name = release(tmp_path / "r1", "r1"), release(tmp_path / "r2", "r2"), tmp_path / "current"
    link(name, first)
    given = {"absolute --chdir": (tmp_path, "--chdir", str(name)), "relative --chdir": (tmp_path, "--chdir", "current")}
    with served_from(*given.get(how, (name,))) as server:
        server.wait_for_ready(1)
        assert get(server.port).body == b"r1"
        link(name, second)
        crash(server)
        assert get(server.port).body == b"r1", "until the reload the old release is served"
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        wait_for_answer(server, b"r2")
        shutil.rmtree(first)
        server.wait_until(lambda: len(server.workers()) == 1)
        crash(server)
        assert get(server.port).body == b"r2"
        assert "Traceback" not in server.log


def test_files_are_those_of_the_new_directory(tmp_path: Path) -> None:
    pytest.importorskip("dotenv")
    name = tmp_path / "current"
    for version in ("r1", "r2"):
        folder = release(tmp_path / version, version)
        (folder / "main.py").write_text(
            "import os\n" + APPLICATION.format(version=version).replace('"r', 'os.environ["V"] + "r')
        )
        (folder / "pyproject.toml").write_text(f"[tool.tricorn]\nheader = ['x-release: {version}']\n")
        (folder / "v.env").write_text(f"V={version}")
    link(name, tmp_path / "r1")
    with served_from(name, "--env-file", "v.env", "--access-log", "--access-log-file", "access.log") as server:
        answer = get(server.port)
        assert (answer.body, answer.headers["x-release"]) == (b"r1r1", "r1")
        link(name, tmp_path / "r2")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        wait_for_answer(server, b"r2r2")
        assert get(server.port).headers["x-release"] == "r2"
        assert (tmp_path / "r2" / "access.log").stat().st_size > 0


def test_a_directory_that_is_gone_is_one_line_and_the_old_generation_serves(tmp_path: Path) -> None:
    folder = release(tmp_path / "app", "old")
    with served_from(tmp_path, "--chdir", str(folder)) as server:
        server.wait_for_ready(1)
        shutil.rmtree(folder)
        server.send(signal.SIGHUP)
        line = f"Reload abandoned, the configuration is broken: --chdir {folder}: No such file or directory"
        server.wait_for_log(line)
        assert get(server.port).body == b"old"
        release(folder, "new")
        crash(server)
        assert get(server.port).body == b"new", "a new worker finds what has the name now"
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        assert "Traceback" not in server.log


def test_the_shells_name_of_the_directory_counts_if_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link(tmp_path / "name", real)
    monkeypatch.chdir(real)
    for named, found in ((tmp_path / "name", tmp_path / "name"), (tmp_path, real), ("name", real), (tmp_path / "no", real)):
        monkeypatch.setenv("PWD", str(named))
        assert current() == str(found)
    monkeypatch.delenv("PWD")
    assert current() == str(real)
