"""With --reload: files that settings come from are watched, too, and their values take effect."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.editing import Project, wait_for_answer, wait_until_watching
from support.harness import ROOT, Server, get

pytest.importorskip("dotenv", reason="python-dotenv is not installed")

TELLS = """
import os
import installed_already

async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = f"{os.environ.get('A')} {os.environ.get('B')} {installed_already.A}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "code").mkdir()
    (tmp_path / "elsewhere").mkdir()
    project = Project(tmp_path / "code")
    project.save("import os\nA = os.environ.get('A')\n", "installed_already.py")
    project.save(TELLS)
    return project


def serve(project: Project, *arguments: str) -> Server:
    server = project.serve("--env-file", str(project.folder.parent / "elsewhere" / "v.env"), *arguments)
    server.cwd = project.folder
    server.env["PYTHONPATH"] = str(ROOT)
    return server


@pytest.mark.parametrize("warm", ["--reload-warm", "--no-reload-warm"])
def test_variables_are_those_of_the_file(project: Project, warm: str) -> None:
    file = project.folder.parent / "elsewhere" / "v.env"
    file.write_text("A=1\nB=1\n")
    with serve(project, warm, "--log-level", "debug") as server:
        wait_until_watching(server)
        if warm == "--reload-warm":
            # There is a template from now on, as far as modules of packages were imported.
            project.save("import click\n" + TELLS)
            server.wait_for_log("reloaded in")
            server.wait_for_log(r"Warm reload: \d+ modules")
        assert get(server.port).body == b"1 1 1"
        file.write_text("A=2\n")
        server.wait_for_log(r"v\.env changed: reloading")
        wait_for_answer(server, b"2 None 2")
        server.wait_for_log("watching .* for changes", count=2)
        file.write_text("A=3\nB=3\n")
        wait_for_answer(server, b"3 3 3")
        count = server.log.count("reloaded in")
        server.send(signal.SIGHUP)
        server.wait_for_log("reloaded in", count=count + 1)
        assert get(server.port).body == b"3 3 3"


def test_settings_are_those_of_the_file(project: Project) -> None:
    (project.folder.parent / "elsewhere" / "v.env").write_text("A=1\n")
    settings = project.folder / "pyproject.toml"
    with serve(project) as server:
        wait_until_watching(server)
        settings.write_text("[tool.tricorn]\nheader = ['x-saved: one']\n")
        server.wait_until(lambda: get(server.port).headers.get("x-saved") == "one")
        server.wait_for_log("watching .* for changes", count=2)
        settings.write_text("[tool.tricorn]\nheader = ['x-saved: two']\nport = 'many'\n")
        server.wait_for_log("Reload abandoned, the configuration is broken: .*port")
        assert get(server.port).headers["x-saved"] == "one"
        # The next save of code is served all the same.
        project.save(TELLS + "\n# more\n")
        server.wait_for_log("reloaded in", count=2)
        settings.unlink()
        server.wait_until(lambda: "x-saved" not in get(server.port).headers)
