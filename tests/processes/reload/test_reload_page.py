"""The page that a broken save shows, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.editing import BROKEN, Project, wait_until_watching

pytest.importorskip("websockets", reason="websockets, which carries the browser's remote control, is not installed")
from support.browser import PROGRAM, Browser

TITLE, TEXT = "document.querySelector('h1')?.textContent", "document.body?.textContent"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_a_syntax_error_is_shown_and_the_page_recovers_by_itself(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with project.serve() as server, Browser(tmp_path_factory.mktemp("profile")) as browser:
        wait_until_watching(server)
        with browser.open(f"http://127.0.0.1:{server.port}/") as tab:
            tab.wait_for(TEXT, "one")
            project.save(BROKEN)
            server.wait_for_log("shows this error")
            tab.run("location.reload()")
            tab.wait_for(TITLE, "SyntaxError: '(' was never closed")
            assert "async def app(scope, receive, send:" in tab.run(TEXT)
            if folder := os.environ.get("PICTURES"):
                # For whoever wants to look.
                (Path(folder) / "error_page.png").write_bytes(tab.picture())
            project.save("raise RuntimeError('another <b>error</b>')\n")
            tab.wait_for(TITLE, "RuntimeError: another <b>error</b>")
            assert tab.run("document.querySelectorAll('b').length") == 0
            project.write("two")
            tab.wait_for(TEXT, "two")
            assert server.log.count("Supervisor [") == 1
            assert server.process.poll() is None
