"""The dashboard in a real browser. ``TRICORN_AXE`` may name axe.min.js of the npm package axe-core; then that is run, too."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("websockets", reason="websockets, which carries the remote control of the browser, is not installed")
from support.browser import PROGRAM, Browser, Tab
from support.harness import Server, get

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")

ROWS = "document.querySelectorAll('#rows tr').length"


def test_the_fleet_is_seen_as_it_changes(tmp_path: Path) -> None:
    with Server("tests.apps.counted:app", "--no-access-log", "--workers", "2", "--admin-bind", "127.0.0.1:0") as server:
        port = server.wait_for_log(r"Admin listener on http://[^:]*:(\d+)").group(1)
        server.wait_for_ready(2)
        with Browser(tmp_path) as browser, browser.open(f"http://127.0.0.1:{port}/") as tab:
            tab.wait_for("document.getElementById('state').textContent", "all well")
            tab.wait_for(ROWS, 2)
            assert tab.run("document.getElementById('app').textContent") == "tests.apps.counted:app"
            assert get(server.port).status == 200
            tab.wait_for("document.querySelectorAll('path[d^=M]').length > 0", True)
            server.process.send_signal(signal.SIGHUP)
            tab.wait_for("document.getElementById('generation').textContent", "1")
            tab.wait_for("document.getElementById('log').textContent.includes('Reload complete')", True)
            # Nothing but the page itself was loaded, and all of it ran under its policy.
            assert tab.run("performance.getEntriesByType('resource').every(r => r.name.includes('/events'))")
            assert tab.run("getComputedStyle(document.querySelector('#workers')).borderRadius") != "0px"
            if axe := os.environ.get("TRICORN_AXE"):
                violations_of(tab, Path(axe).read_text())


def violations_of(tab: Tab, axe: str) -> None:
    """Run axe-core in the page; AssertionError with what it finds."""
    tab.run(axe + "; 1")
    tab.run("window.found = null; axe.run().then(r => { window.found = JSON.stringify(r.violations) }); 1")
    tab.wait_for("window.found !== null", True)
    found = json.loads(tab.run("window.found"))
    assert not found, [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
