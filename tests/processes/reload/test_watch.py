"""The watcher: which files it wants, and how editors save them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.harness import PATIENCE, pass_time, wait_until
from tricorn.config.options import Config
from tricorn.ipc.channel import LOADED, encode
from tricorn.supervisor.reload.fsevents import WatchfilesWaiter
from tricorn.supervisor.reload.inotify import InotifyWaiter
from tricorn.supervisor.reload.selection import MAX_BEHIND_LINK, Selection, needs_polling
from tricorn.supervisor.reload.watcher import QUIET, Waiter, Watcher

# ---- which files


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def select(**options: Any) -> Selection:
    return Selection(Config(app="a:b", reload=True, **options))


@pytest.mark.parametrize(
    ("options", "wanted", "unwanted"),
    [
        ({}, ["main.py", "deep/er/main.py"], ["main.txt", "main.pyc", ".hidden.py", "~lock.py", ".main.py.swp"]),
        ({"reload_include": ("*.html",)}, ["main.py", "a/page.html"], ["page.htm", ".page.html"]),
        ({"reload_include": (".env",)}, ["main.py", ".env"], [".other"]),
        ({"reload_include": (".*",)}, ["main.py", ".anything"], ["main.txt"]),
        ({"reload_exclude": ("test_*.py",)}, ["main.py"], ["test_main.py", "deep/test_main.py"]),
        ({"reload_exclude": ("*.py",), "reload_include": ("*.html",)}, ["page.html"], ["main.py"]),
        ({"reload_exclude": ("made",)}, ["main.py"], ["made/main.py", "made/deep/main.py"]),
    ],
    ids=str,
)
def test_globs_mean_what_they_mean_to_uvicorn(
    here: Path, options: dict[str, tuple[str, ...]], wanted: list[str], unwanted: list[str]
) -> None:
    (here / "made").mkdir()
    selection = select(**options)
    assert [name for name in wanted if not selection.wants(str(here / name))] == []
    assert [name for name in unwanted if selection.wants(str(here / name))] == []


@pytest.mark.parametrize(
    ("options", "roots"),
    [
        ({}, ["."]),
        ({"app_dir": "src"}, ["."]),
        ({"reload_dir": ("src",)}, ["src"]),
        ({"reload_dir": ("src", "src/inner", "lib")}, ["lib", "src"]),
        ({"reload_include": ("lib",)}, ["lib"]),
        ({"reload_include": ("l*",)}, ["lib"]),
        # It may yet come to be; that it is there at the start was checked.
        ({"reload_dir": ("nowhere",)}, ["nowhere"]),
        ({"reload_dir": ("src", "lib"), "reload_exclude": ("lib",)}, ["src"]),
    ],
    ids=str,
)
def test_directories_are_those_of_uvicorn(here: Path, options: dict[str, Any], roots: list[str]) -> None:
    for name in ("src/inner", "lib"):
        (here / name).mkdir(parents=True)
    assert select(**options).roots == [str((here / root).resolve()) for root in roots]


def test_an_app_dir_elsewhere_is_watched_too(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert select(app_dir=str(elsewhere)).roots == sorted([str(here), str(elsewhere)])


def test_ignored_trees_are_not_even_entered(here: Path) -> None:
    ignored = [".git", "node_modules", "__pycache__", ".venv", "deep/.mypy_cache", "my-environment"]
    for name in [*ignored, "deep/package", "env"]:
        (here / name / "inner").mkdir(parents=True)
        (here / name / "inner" / "code.py").touch()
    (here / "my-environment" / "pyvenv.cfg").touch()
    directories, files = select().scan()
    kept = {".", "deep", "deep/package", "deep/package/inner", "env", "env/inner"}
    assert {os.path.relpath(name) for name in directories} == kept
    assert {os.path.relpath(name) for name in files} == {"deep/package/inner/code.py", "env/inner/code.py"}


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /work rw - 9p share rw,trans=virtio
31 22 0:27 / /work/local rw - tmpfs tmpfs rw
32 22 0:28 / /mnt/with\\040space rw - fuse.sshfs host: rw
33 22 0:29 / /home rw - nfs4 server:/home rw
"""


@pytest.mark.parametrize(
    ("directory", "polled"),
    [
        ("/", False),
        ("/workshop", False),
        ("/work", True),
        ("/work/project/src", True),
        ("/work/local/src", False),
        ("/mnt/with space/src", True),
        ("/home/me", True),
    ],
)
def test_file_systems_on_which_inotify_is_deaf_are_known(directory: str, polled: bool) -> None:
    assert needs_polling(directory, MOUNTS) is polled


# ---- saving


class Watched:
    """A watcher in a thread, and what it reported."""

    def __init__(self, folder: Path, link: socket.socket, watcher: Watcher) -> None:
        self.folder, self._link, self._watcher, self._text = folder, link, watcher, b""

    def reports(self) -> list[list[str]]:
        with suppress(BlockingIOError):
            while data := self._link.recv(65536):
                self._text += data
        return [json.loads(line)["files"] for line in self._text.splitlines()]

    def shown(self, name: str) -> str:
        path = str(self.folder / name)
        relative = os.path.relpath(path)
        return path if relative.startswith("..") else relative

    @property
    def directories(self) -> set[str]:
        return self._watcher.directories

    def expect(self, *names: str) -> None:
        """Wait for a report of these, in one or several; and that no other follows."""
        expected = {self.shown(name) for name in names}
        wait_until(lambda: {name for report in self.reports() for name in report} == expected, what=lambda: str(self.reports()))
        pass_time(0.1)
        assert {name for report in self.reports() for name in report} == expected
        self._text = b""

    def expect_nothing(self) -> None:
        pass_time(0.2)
        assert self.reports() == []

    def forget(self) -> None:
        """Of what was reported until now."""
        self.reports()
        self._text = b""

    def tell_imported(self, file: Path) -> None:
        """As the supervisor does; until it is known."""
        self._link.send(encode(LOADED, files=[str(file)]))
        wait_until(lambda: str(file) in self._watcher.files, what="the watcher does not listen")


@contextmanager
def watching(folder: Path, **options: Any) -> Iterator[Watched]:
    settings: dict[str, Any] = {"reload_dir": (str(folder),), "reload_delay": 0} | options
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    # Far in the future: what was there before is no news.
    watcher = Watcher(Config(app="a:b", reload=True, **settings), theirs, since=time.time() + 3600)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        wait_until(lambda: watcher.waiter)
        yield Watched(folder, ours, watcher)
    finally:
        ours.close()
        thread.join(PATIENCE)
        theirs.close()
        assert not thread.is_alive(), "it ends when the supervisor is gone"


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_renaming(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.tmp")
    new.write_text(text)
    new.rename(path)


def with_backup(path: Path, text: str) -> None:
    """As vim with ``backupcopy=no``: the old file is moved away, a new one written and made like the old."""
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text(text)
    path.chmod(0o644)
    backup.unlink()


def twice(path: Path, text: str) -> None:
    """As an editor whose formatter writes at once after it."""
    path.write_text(text + " ")
    path.write_text(text)


def bit_by_bit(path: Path, text: str) -> None:
    with path.open("w") as file:
        for letter in text:
            file.write(letter)
            file.flush()


@pytest.mark.parametrize("save", [in_place, by_renaming, with_backup, twice, bit_by_bit])
@pytest.mark.parametrize("poll", [False, True], ids=["inotify", "polling"])
def test_one_save_is_one_reload(tmp_path: Path, save: Any, poll: bool) -> None:
    path = tmp_path / "main.py"
    path.write_text("old")
    with watching(tmp_path, reload_poll=poll) as watched:

        def saved_in_time() -> bool:
            """Whether all of the save was done in a moment: on a busy machine it may halt for longer than any editor does."""
            watched.forget()
            begun = time.monotonic()
            save(path, "newer")
            took = time.monotonic() - begun
            wait_until(watched.reports, what="nothing was reported")
            pass_time(1.0 if poll else 0.2)
            return took < QUIET / 1000

        wait_until(saved_in_time)
        assert watched.reports() == [[watched.shown("main.py")]]


def test_watchfiles_tells_what_inotify_does(tmp_path: Path) -> None:
    """Elsewhere than on Linux it is what tells; it speaks of the same paths here."""
    pytest.importorskip("watchfiles", reason="watchfiles is not installed")
    path = tmp_path / "main.py"
    notifiers: list[Waiter] = [WatchfilesWaiter([str(tmp_path)]), InotifyWaiter([str(tmp_path), str(tmp_path / "gone")])]
    path.write_text("new")
    for notifier in notifiers:
        found: set[str] = set()
        wait_until(lambda notifier=notifier, found=found: found.update(notifier.wait(0.1) or ()) or str(path) in found)
        notifier.close()


def test_permissions_reading_and_other_files_are_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text("old")
    with watching(tmp_path) as watched:
        path.chmod(0o755)
        path.read_text()
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / "__pycache__" / "main.py").write_text("x")
        watched.expect_nothing()
        path.write_text("new")
        watched.expect("main.py")


def test_removed_and_renamed_files_are_news(tmp_path: Path) -> None:
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(name)
    with watching(tmp_path) as watched:
        (tmp_path / "one.py").unlink()
        watched.expect("one.py")
        (tmp_path / "two.py").rename(tmp_path / "three.py")
        watched.expect("two.py", "three.py")


@pytest.mark.parametrize("poll", [False, True], ids=["inotify", "polling"])
def test_what_is_behind_a_link_is_watched(tmp_path: Path, poll: bool, caplog: pytest.LogCaptureFixture) -> None:
    root, shared, other = (tmp_path / name for name in ("root", "shared", "other"))
    for folder in (root, shared / "deep", other / "deep", tmp_path / "node_modules", tmp_path / "large"):
        folder.mkdir(parents=True)
    for number in range(MAX_BEHIND_LINK + 1):
        (tmp_path / "large" / f"{number}").touch()
    for link, target in (
        *(("lib", shared), ("circle", root), ("modules", tmp_path / "node_modules")),
        *(("data", tmp_path / "large"), ("up", tmp_path / "nowhere")),
    ):
        (root / link).symlink_to(target)
    with watching(root, reload_poll=poll) as watched:
        (shared / "deep" / "code.py").write_text("x")
        watched.expect("lib/deep/code.py")
        (tmp_path / "node_modules" / "code.py").write_text("x")
        (tmp_path / "large" / "code.py").write_text("x")
        watched.expect_nothing()
        assert f"Not watching what is behind the link {root / 'data'}" in caplog.text
        (root / "new").symlink_to(other)
        (root / "lib").unlink()
        (root / "lib").symlink_to(tmp_path / "nowhere")
        watched.expect("lib/deep/code.py")
        wait_until(lambda: str(root / "new" / "deep") in watched.directories)
        (other / "deep" / "code.py").write_text("x")
        watched.expect("new/deep/code.py")


@pytest.mark.parametrize("poll", [False, True], ids=["inotify", "polling"])
def test_a_root_that_is_deleted_and_made_again_is_watched_again(tmp_path: Path, poll: bool) -> None:
    root = tmp_path / "outer" / "root"

    def make(text: str) -> None:
        root.mkdir(parents=True)
        (root / "main.py").write_text(text)

    make("old")
    with watching(root, reload_poll=poll) as watched:
        for number in range(3):
            shutil.rmtree(tmp_path / "outer" if number == 1 else root)
            watched.expect("main.py")
            make("new" * number)
            watched.expect("main.py")
            (root / "main.py").write_text("newer" * number)
            watched.expect("main.py")
        # As quickly as a version control system does.
        shutil.rmtree(root)
        make("at once")
        wait_until(watched.reports)
        watched.forget()
        (root / "main.py").write_text("and saved")
        watched.expect("main.py")


def test_new_directories_are_noticed(tmp_path: Path) -> None:
    with watching(tmp_path) as watched:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "first.py").write_text("x")
        watched.expect("a/b/first.py")
        (tmp_path / "a" / "b" / "second.py").write_text("x")
        watched.expect("a/b/second.py")
        shutil.rmtree(tmp_path / "a")
        watched.expect("a/b/first.py", "a/b/second.py")


def test_what_was_imported_elsewhere_is_watched_and_its_neighbours_are_not(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    imported, other = elsewhere / "imported.py", elsewhere / "other.py"
    imported.write_text("old")
    with watching(tmp_path) as watched:
        watched.tell_imported(imported)
        other.write_text("x")
        imported.write_text("newer")
        watched.expect(str(imported))


def test_the_delay_is_the_least_time_between_two_reloads(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text("old")
    with watching(tmp_path, reload_delay=2) as watched:
        path.write_text("first")
        wait_until(watched.reports)
        begun = time.monotonic()
        for number in range(5):
            path.write_text(f"number {number}")
            pass_time(0.05)
        wait_until(lambda: len(watched.reports()) == 2)
        assert 1 < time.monotonic() - begun < 10
        pass_time(2.5)
        assert len(watched.reports()) == 2
