"""Makes docs/picture.svg, README's picture, from a real run:  python docs/picture.py   (needs chromium and FastAPI)

``tricorn dev`` serves on a terminal. A file is saved with a mistake and mended. A browser shows what it gets.
"""

from __future__ import annotations

import base64
import html
import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import Browser  # noqa: E402
from support.harness import environment, pass_time, wait_until  # noqa: E402
from support.proxies import free_port  # noqa: E402

APP = """from fastapi import FastAPI
from fastapi.responses import HTMLResponse

app = FastAPI()
PRICES = {"tea": 3, "cake": 4}


@app.get("/", response_class=HTMLResponse)
async def menu():
    total = sum(PRICES[name] for name in ["tea", "cake"])
    return f"<h1>Tea and cake: {total} €</h1>"
"""
MISTAKE = APP.replace('["tea", "cake"])', '["tea", "scone"])')
WIDTH, HEIGHT = 640, 430
"""Of what the browser shows, in pixels."""
PROMPT = "$ tricorn dev"


class Terminal:
    """A server on a terminal of its own, and all that it has written."""

    def __init__(self, folder: Path, port: int) -> None:
        ours, theirs = pty.openpty()
        given = environment({"NO_COLOR": "1"})
        del given["TRICORN_LOG_TIME"]
        command = [sys.executable, "-m", "tricorn", "dev", "--port", str(port)]
        self.text = ""
        self.process = subprocess.Popen(command, cwd=folder, env=given, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        threading.Thread(target=self._read, args=(ours,), daemon=True).start()

    def _read(self, terminal: int) -> None:
        try:
            while data := os.read(terminal, 65536):
                self.text += data.decode().replace("\r\n", "\n")
        except OSError:
            return

    def see(self, pattern: str) -> None:
        """Wait until the terminal shows ``pattern``."""
        wait_until(lambda: re.search(pattern, self.text), what=pattern)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        file = folder / "main.py"
        file.write_text(APP)
        terminal = Terminal(folder, port)
        try:
            with Browser(folder / ".profile") as browser:
                terminal.see("Serving")
                terminal.see("Watching")
                with browser.open(f"http://127.0.0.1:{port}/") as tab:
                    tab.resize(WIDTH, HEIGHT)
                    tab.wait_for("document.body.innerText.trim()", "Tea and cake: 7 €")
                    # A developer types a while; meanwhile the packages are imported for the next workers.
                    pass_time(8)
                    file.write_text(MISTAKE)
                    tab.wait_for("document.title", "KeyError: 'scone'")
                    error = tab.picture()
                    file.write_text(APP)
                    tab.wait_for("document.body.innerText.trim()", "Tea and cake: 7 €")
                    mended = tab.picture()
                    terminal.see(r"(?s)reloaded.*reloaded")
        finally:
            terminal.process.terminate()
            terminal.process.wait()
    lines = terminal.text.replace(str(folder), "~/menu").replace(f":{port}", ":8000").splitlines()
    (ROOT / "docs" / "picture.svg").write_text(drawn(lines, error, mended))


def drawn(lines: list[str], error: bytes, mended: bytes) -> str:
    """The picture: the terminal above, the two pages below it."""
    left_out = re.compile(r"Traceback|  |.*(Stop|favicon)")
    kept = [line for line in lines if line and not left_out.match(line)]
    width, gap, bar = WIDTH * 2 + 60, 20, 30
    rows = [PROMPT, *(line if len(line) < 150 else f"{line[:147]}..." for line in kept)]
    high = bar + 24 + 22 * len(rows)
    top = gap + high + gap
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + bar + HEIGHT + gap + 30}" role="img" ',
        'aria-label="A terminal with tricorn dev, the page of an error, and the same page after it was mended">',
        "<style>text{font:15px ui-monospace,Menlo,Consolas,monospace;fill:#d6deeb}.c{font-weight:700;fill:#7fdbca}",
        ".g{fill:#addb67}.r{fill:#ff8a80}.t{font:600 15px system-ui,sans-serif;fill:#57606a}</style>",
        window(gap, gap, width - 2 * gap, high, "#0d1726", "~/menu"),
    ]
    for at, row in enumerate(rows):
        kind = "c" if row == PROMPT else "r" if row.startswith(("ERROR", "KeyError")) else "g" if "reloaded" in row else ""
        place = f'x="{gap + 16}" y="{gap + bar + 26 + 22 * at}"'
        parts.append(f'<text {place} class="{kind}" xml:space="preserve">{html.escape(row)}</text>')
    for at, (picture, title) in enumerate(
        ((error, "1. A save with a mistake"), (mended, "2. Mended: the page is back by itself"))
    ):
        left = gap + at * (WIDTH + gap)
        parts.append(window(left, top, WIDTH, HEIGHT + bar, "#ffffff", "127.0.0.1:8000"))
        data = base64.b64encode(picture).decode()
        parts.append(
            f'<image x="{left}" y="{top + bar}" width="{WIDTH}" height="{HEIGHT}" href="data:image/png;base64,{data}"/>'
        )
        parts.append(f'<text x="{left}" y="{top + bar + HEIGHT + 24}" class="t">{title}</text>')
    return "\n".join([*parts, "</svg>\n"])


def window(left: int, top: int, width: int, height: int, color: str, title: str) -> str:
    """The frame of a window."""
    dots = "".join(f'<circle cx="{left + 18 + 18 * at}" cy="{top + 15}" r="5" fill="#8b949e"/>' for at in range(3))
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8" fill="{color}" stroke="#8b949e"/>'
        f'<path d="M{left} {top + 30}h{width}" stroke="#8b949e"/>{dots}'
        f'<text x="{left + 80}" y="{top + 20}" class="t" style="font-size:13px;fill:#8b949e">{html.escape(title)}</text>'
    )


if __name__ == "__main__":
    main()
