"""The chat example in a real browser: two tabs, and a reload of the server under them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.harness import Server

pytest.importorskip("websockets", reason="websockets, which carries the browser's remote control, is not installed")
from support.browser import PROGRAM, Browser

STATE = "document.getElementById('state')?.textContent"
LINES = "[...document.querySelectorAll('#lines li')].map((line) => line.textContent)"


def say(text: str) -> str:
    """What a person does: type and press Enter."""
    return f"document.getElementById('text').value = {text!r}; document.getElementById('form').requestSubmit()"


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_two_tabs_chat_and_survive_a_reload(tmp_path: Path) -> None:
    with Server("examples.chat:app") as server, Browser(tmp_path) as browser:
        server.wait_for_ready(1)
        url = f"http://127.0.0.1:{server.port}/"
        with browser.open(url) as one, browser.open(url) as two:
            for tab in (one, two):
                tab.wait_for(STATE, "connected (1)")
                # A page that is told twice would keep only the last code.
                tab.run("window.codes = []; socket.addEventListener('close', (event) => codes.push(event.code))")
            one.run(say("hello from one"))
            two.wait_for(LINES, ["hello from one"])
            two.run(say("grüße von zwei"))
            for tab in (one, two):
                tab.wait_for(LINES, ["hello from one", "grüße von zwei"])
            server.send(signal.SIGHUP)
            for tab in (one, two):
                tab.wait_for(STATE, "connected (2)")
                assert tab.run("codes") == [1012]
            one.run(say("here again"))
            two.wait_for(f"{LINES}.at(-1)", "here again")
            server.wait_for_log("drained")
        assert "ERROR" not in server.log
        assert server.stop() == 0
