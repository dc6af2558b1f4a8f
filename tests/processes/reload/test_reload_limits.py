"""What --reload does where the kernel does not let it watch, and directories that are not there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.editing import Project, wait_for_answer
from support.harness import ROOT, Server, run_tricorn

NAMESPACE = ("unshare", "--user", "--map-root-user")
"""A user namespace has limits of its own for inotify (namespaces(7))."""


def can_limit() -> bool:
    try:
        command = [*NAMESPACE, "sh", "-c", "echo 0 > /proc/sys/user/max_inotify_instances"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_limit(), reason="no user namespace with limits of its own can be made here")
@pytest.mark.parametrize(
    ("limit", "value", "cause"),
    [
        ("max_inotify_instances", 0, "the limit fs.inotify.max_user_instances is reached"),
        ("max_inotify_watches", 3, "the limit fs.inotify.max_user_watches is reached"),
    ],
)
def test_polling_takes_over_where_the_kernel_has_a_limit(tmp_path: Path, limit: str, value: int, cause: str) -> None:
    project = Project(tmp_path)
    for number in range(5):
        (tmp_path / f"package{number}").mkdir()
    server = project.serve()
    server.command = [*NAMESPACE, "sh", "-c", f'echo {value} > /proc/sys/user/{limit}; exec "$@"', "sh", *server.command]
    with server:
        server.wait_for_log(f"Watching by polling, for \\d directories can't be watched: {cause}")
        server.wait_for_log("watching .* for changes by polling")
        for version in ("two", "three"):
            project.write(version)
            wait_for_answer(server, version.encode())
        assert server.log.count("Watching by polling") == 1
        assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--reload", "--reload-dir", "nope"), "Error: --reload-dir nope: no such directory"),
        (
            ("--reload", "--reload-dir", "tests", "--reload-dir", "README.md"),
            "Error: --reload-dir README.md: no such directory",
        ),
        (("--app-dir", "nope"), "Error: --app-dir nope: no such directory"),
        (("--workers", "0", "--app-dir", "nope"), "Error: --app-dir nope: no such directory"),
        (("--chdir", "tests", "--app-dir", "tests"), "Error: --app-dir tests: no such directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_directory_that_is_not_there_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    ended = run_tricorn("tests.apps.probe:app", "--port", "0", *arguments)
    assert (ended.returncode, ended.stderr.strip()) == (2, said)


def test_an_archive_can_be_imported_from(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.write(ROOT / "examples" / "hello.py", "hello.py")
    with Server("hello:app", "--app-dir", str(tmp_path / "app.zip")) as server:
        server.wait_for_ready(1)
