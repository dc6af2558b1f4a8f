"""log-level and reopen-logs, as the log shows them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.control import ctl
from support.harness import Server, get

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")

APP = """
import logging

async def app(scope, receive, send):
    assert scope["type"] == "http"
    logging.getLogger("tricorn.error").debug("detail of %s", scope["path"])
    logging.getLogger("tricorn.error").info("news of %s", scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "talks.py").write_text(APP)
    with Server("talks:app", "--app-dir", str(tmp_path)) as server:
        server.wait_for_ready(1)
        yield server


def said_of(server: Server, path: str) -> list[str]:
    """What the application's log lines of a request to ``path`` begin with; the access log's line comes as ever."""
    get(server.port, path)
    server.wait_for_log(f'"GET {path} HTTP/1.1" 200')
    return [line.split()[1] for line in server.log.splitlines() if line.endswith(f" of {path}")]


def test_the_level_changes_in_workers_that_run_and_in_later_ones(server: Server) -> None:
    assert said_of(server, "/a") == ["news"]
    assert ctl(server, "log-level", "debug").stdout == "The log's level is debug\n"
    server.wait_until(lambda: said_of(server, "/b")[-2:] == ["detail", "news"])
    assert ctl(server, "reload").returncode == 0
    assert said_of(server, "/c") == ["detail", "news"]
    assert ctl(server, "log-level", "error").returncode == 0
    server.wait_until(lambda: not said_of(server, f"/d{len(server.log)}"))
    assert ctl(server, "reload").returncode == 0
    assert "Reload" not in server.log.partition("/d")[2], "the supervisor itself"


def test_log_files_are_opened_again_and_what_fails_is_told(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "error.log"
    log.parent.mkdir()
    with Server("tests.apps.probe:app", "--error-log-file", str(log), listen=("--uds", str(tmp_path / "socket"))) as server:
        server.wait_until(lambda: log.exists() and "ready in" in log.read_text())
        log.rename(tmp_path / "moved")
        assert ctl(server, "reopen-logs").returncode == 0
        assert log.exists()
        log.unlink()
        log.parent.rmdir()
        ended = ctl(server, "reopen-logs")
        assert ended.returncode == 3
        assert f"--error-log-file {log}: No such file or directory" in ended.stderr
