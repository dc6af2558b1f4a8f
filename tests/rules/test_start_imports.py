"""What a server has imported when it answers: nothing that a plain request does not need, for everybody waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.harness import Server, get

LATE = frozenset(
    """
    click h11 wsproto websockets httptools psutil watchfiles
    configparser difflib email email.utils encodings.idna http.client ipaddress logging.config logging.handlers multiprocessing
    pathlib pdb random shutil tempfile unicodedata urllib.parse uuid
    tricorn.embedding.server tricorn.cli.command tricorn.hooks
    tricorn.protocols.http1.grammar tricorn.protocols.http1.h11_codec tricorn.protocols.proxy.protocol
    tricorn.protocols.websocket tricorn.logs.formats tricorn.worker.error_page tricorn.worker.template
    tricorn.worker.websocket tricorn.supervisor.reload.watcher tricorn.supervisor.reload.template
    tricorn.supervisor.hook_observer tricorn.supervisor.control.server
    """.split()  # noqa: SIM905
)
"""Each of them takes a noticeable part of the start; who needs one imports it then."""

APP = """
import sys

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": " ".join(sys.modules).encode()})
"""


def test_what_the_first_answer_does_not_need_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "tells_modules.py").write_text(APP)
    # What comes anyhow: with asyncio, or with a package that is installed to be edited.
    ask = [sys.executable, "-c", "import asyncio, sys; print(*sys.modules)"]
    given = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    with Server("tells_modules:app", "--loop", "asyncio", "--app-dir", str(tmp_path)) as server:
        found = get(server.port, "/").body.decode().split()
    assert "tricorn.worker.serving" in found
    assert LATE.intersection(found).difference(given) == set()
