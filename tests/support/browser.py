"""A headless Chromium for tests, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from support.harness import PATIENCE, wait_until
from websockets.sync.client import connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]


class Browser:
    """A browser with a profile of its own in ``profile``; as a context manager it is gone afterwards."""

    def __init__(self, profile: Path, *flags: str) -> None:
        self._profile = profile
        self._flags = flags

    def __enter__(self) -> Browser:
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, *FLAGS, *self._flags, f"--user-data-dir={self._profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._port = int(wait_until(self._told_port, what="the browser does not say where its DevTools are"))
        except BaseException:
            self._end()
            raise
        return self

    def _told_port(self) -> str:
        assert self._process.poll() is None, f"the browser ended with {self._process.returncode}"
        told = self._profile / "DevToolsActivePort"
        return told.read_text().partition("\n")[0] if told.exists() else ""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)

    def open(self, url: str) -> Tab:
        """A new tab."""
        wanted = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?{url}", method="PUT")
        with urllib.request.urlopen(wanted, timeout=PATIENCE) as answer:
            return Tab(json.load(answer)["webSocketDebuggerUrl"])


class Tab:
    def __init__(self, address: str) -> None:
        self._address = address
        self._numbers = itertools.count(1)

    def __enter__(self) -> Tab:
        self._link = connect(self._address, max_size=None, open_timeout=PATIENCE, compression=None).__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._link.__exit__(kind, error, traceback)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page, or that of its promise."""
        answer = self._evaluate(script)
        assert "result" in answer, answer
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """From now on see the page in so many pixels."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """From now on prefer the colours ``light`` or ``dark``."""
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot")["result"]["data"])

    def _evaluate(self, script: str) -> Any:
        return self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)

    def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._link.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._link.recv(timeout=PATIENCE))
            if answer.get("id") == number:
                return answer

    def wait_for(self, script: str, expected: Any) -> None:
        """Wait until the expression has the value; while the page goes from one address to the next it has none."""
        answers: list[Any] = []

        def has_value() -> bool:
            answers.append(self._evaluate(script))
            return answers[-1].get("result", {}).get("result", {}).get("value") == expected

        wait_until(has_value, what=lambda: f"{script} is not {expected!r}: {answers[-1]}")
