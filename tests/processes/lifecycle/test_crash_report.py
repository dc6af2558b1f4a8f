"""A crash of C code leaves the Python stack in the log."""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from support.harness import Server, get

APP = """
import asyncio, faulthandler, os, signal

def crash():
    faulthandler._sigsegv()

def in_a_child():
    if os.fork() == 0:
        crash()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/crash":
        crash()
    elif scope["path"] == "/abort":
        os.kill(os.getpid(), signal.SIGABRT)
        await asyncio.sleep(9)
    elif scope["path"] == "/killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif scope["path"] == "/child":
        in_a_child()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})
"""


@pytest.mark.parametrize(("path", "signal"), [("/crash", "SIGSEGV"), ("/abort", "SIGABRT")])
def test_a_fatal_signal_leaves_the_stack(path: str, signal: str, tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text(APP)
    with Server("crashes:app", "--app-dir", str(tmp_path)) as server:
        get(server.port, "/before")
        with suppress(OSError, HTTPException):
            get(server.port, f"{path}?token=secret")
        server.wait_for_log(rf"crashed: killed by {signal}")
        server.wait_for_log(r"Worker 0 \[\d+\], where it crashed:\nFatal Python error: ")
        server.wait_for_log(r'File ".*crashes\.py", line \d+ in ' + ("crash" if path == "/crash" else "app"))
        server.wait_for_log(rf"Requests that it began last: GET {path}, GET /before\n")
        assert "secret" not in server.log.partition("where it crashed")[2].partition("GET /before")[0]
        server.wait_for_ready(2)
        assert get(server.port).body == b"fine"


def test_without_a_supervisor_the_stack_is_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text(APP)
    with Server("crashes:app", "--app-dir", str(tmp_path), "--workers", "0") as server:
        with suppress(OSError, HTTPException):
            get(server.port, "/crash")
        server.wait_for_exit()
        server.wait_for_log(r'Fatal Python error: Segmentation fault[\s\S]*crashes\.py", line \d+ in crash')


def test_other_deaths_have_no_stack(tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text(APP)
    with Server("crashes:app", "--app-dir", str(tmp_path)) as server:
        # A process of the application's own is none of ours.
        assert get(server.port, "/child").body == b"fine"
        with suppress(OSError, HTTPException):
            get(server.port, "/killed")
        server.wait_for_log("crashed: killed by SIGKILL")
        assert "where it crashed" not in server.log
