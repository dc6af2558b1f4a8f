"""Packages that are installed, but can't be imported: one line says so, and what can be done without them is done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.harness import ROOT, Server, get, run_tricorn

APP = "examples.hello:app"
BREAKAGES = {
    "ImportError": "raise ImportError('no symbol\\n  uv_loop_init')",
    "OSError": "raise OSError('libuv.so.1: cannot open shared object file')",
    "SystemExit": "raise SystemExit('wrong Python')",
    "RuntimeError": "raise RuntimeError('compiled for another ABI')",
    "SyntaxError": "def broken(:",
}


def shadow(place: Path, *packages: str, breakage: str = "OSError") -> dict[str, str]:
    """An environment in which ``packages`` are installed and broken."""
    for package in packages:
        (place / package).mkdir()
        (place / package / "__init__.py").write_text(f"{BREAKAGES[breakage]}\n")
    return {"PYTHONPATH": os.pathsep.join((str(place), str(ROOT)))}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_the_event_loop_falls_back_to_asyncio(breakage: str, tmp_path: Path) -> None:
    with Server(APP, "--workers", "2", env=shadow(tmp_path, "uvloop", breakage=breakage)) as server:
        server.wait_for_ready(2)
        assert get(server.port).status == 200
        server.wait_for_log("starts 2 workers on asyncio")
        line = rf"WARNING:  Going on without uvloop, which is installed, but can't be imported \({breakage}: "
        server.wait_for_log(line)
        assert server.log.count("Going on without") == 1
        assert "Traceback" not in server.log


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_fleet_and_a_single_process_fall_back(workers: str, tmp_path: Path) -> None:
    env = shadow(tmp_path, "uvloop", "httptools", "setproctitle", "websockets", "a2wsgi")
    with Server(APP, "--workers", workers, env=env) as server:
        assert get(server.port).status == 200
        server.wait_for_log("Going on without uvloop")
        assert "Traceback" not in server.log
        assert server.log.count("Going on without uvloop") == 1
        assert server.log.count("Going on without setproctitle") == int(workers)


@pytest.mark.parametrize(
    ("package", "options", "named"),
    [
        ("uvloop", ("--loop", "uvloop"), "--loop uvloop: uvloop"),
        ("httptools", ("--http", "httptools"), "--http httptools: httptools"),
        ("websockets", ("--ws", "websockets"), "--ws websockets: websockets"),
        ("websockets", ("--ws", "websockets-sansio"), "--ws websockets-sansio: websockets"),
        ("a2wsgi", ("--interface", "wsgi"), "--interface wsgi: a2wsgi"),
        ("psutil", ("--limit-max-rss", "500"), "--limit-max-rss 500: psutil"),
        ("yaml", ("--log-config", "{place}/log.yaml"), "--log-config {place}/log.yaml: PyYAML"),
        ("dotenv", ("--env-file", "{place}/env"), "--env-file {place}/env: python-dotenv"),
    ],
)
def test_asked_for_by_name_it_is_an_error(package: str, options: tuple[str, ...], named: str, tmp_path: Path) -> None:
    (tmp_path / "log.yaml").write_text("version: 1")
    (tmp_path / "env").write_text("A=1")
    workers = "0" if package == "uvloop" else "1"
    given = [option.format(place=tmp_path) for option in options]
    ended = run_tricorn(APP, "--port", "0", "--workers", workers, *given, env=shadow(tmp_path, package))
    cause = "is installed, but can't be imported (OSError: libuv.so.1: cannot open shared object file)"
    assert (ended.returncode, ended.stderr) == (2, f"Error: {named.format(place=tmp_path)} {cause}\n")


def test_without_watchfiles_reload_looks_by_itself(tmp_path: Path) -> None:
    env = shadow(tmp_path, "watchfiles")
    module = tmp_path / "changing.py"
    text = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first"})
"""
    module.write_text(text)
    with Server("changing:app", "--reload", "--app-dir", str(tmp_path), "--reload-dir", str(tmp_path), env=env) as server:
        assert get(server.port).body == b"first"
        if sys.platform == "linux":
            # There it is not needed.
            server.wait_for_log("Watching .* for changes\n")
        else:
            server.wait_for_log(r"WARNING:  Watching by polling, for .* watchfiles can't be imported \(OSError: ")
        module.write_text(text.replace("first", "second"))
        server.wait_until(lambda: get(server.port).body == b"second")
        assert "Traceback" not in server.log
