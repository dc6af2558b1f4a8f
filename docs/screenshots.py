"""Makes docs/dashboard-*.png, the dashboard's pictures, from a real fleet:  python docs/screenshots.py   (needs chromium)

Five minutes of load, a worker that is killed, a reload; then the page in light and dark, on a wide screen and on a phone.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.admin import Load, serving  # noqa: E402
from support.browser import Browser  # noqa: E402
from support.harness import pass_time  # noqa: E402

SECONDS = 300
WIDE, PHONE = (1280, 900), (390, 844)
PICTURES = {"light": ("light", WIDE), "dark": ("dark", WIDE), "phone-light": ("light", PHONE), "phone-dark": ("dark", PHONE)}
"""By the end of the file's name: the colours, and the screen in pixels."""


def main() -> None:
    """Run the fleet and write the pictures."""
    with serving("--workers", "4") as (server, admin), tempfile.TemporaryDirectory() as profile:
        server.wait_for_ready(4)
        for share, clients in enumerate((2, 5, 3), 1):
            with Load(server.port, clients):
                pass_time(SECONDS / 3)
                if share == 2:
                    os.kill(admin.workers()[0], signal.SIGKILL)
        address = f"http://127.0.0.1:{admin.port}/"
        with Load(server.port, 4), Browser(Path(profile), "--hide-scrollbars") as browser, browser.open(address) as tab:
            server.process.send_signal(signal.SIGHUP)
            tab.wait_for("document.getElementById('log').textContent.includes('Reload complete')", True)
            for name, (scheme, size) in PICTURES.items():
                tab.resize(*size)
                tab.prefer(scheme)
                # The plots are drawn anew with the next point.
                pass_time(3)
                (ROOT / "docs" / f"dashboard-{name}.png").write_bytes(tab.picture())


if __name__ == "__main__":
    main()
