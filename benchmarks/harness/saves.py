"""The development loop: from saving a file to the first answer by the new code, with each server's ``--reload``."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from .environment import CACHE
from .load import MeasurementFailed, Sample
from .moments import Moment
from .servers import Running, Server, ask

APPLICATION = """{imports}
VERSION = b"{version}"

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(VERSION))]}})
        await send({{"type": "http.response.body", "body": VERSION}})
    else:
        while (await receive())["type"] == "lifespan.startup":
            await send({{"type": "lifespan.startup.complete"}})
        await send({{"type": "lifespan.shutdown.complete"}})
"""
HELLO = "import asyncio"
HEAVY = "import fastapi, pandas, pydantic, sqlalchemy"


def write(folder: Path, imports: str, version: int) -> None:
    """As editors do: whole, by renaming, so that no server sees half a file."""
    (folder / "saved.py.new").write_text(APPLICATION.format(imports=imports, version=f"version {version}"))
    (folder / "saved.py.new").rename(folder / "saved.py")


def wait_for(running: Running, version: int, timeout: float = 20) -> tuple[float, int]:
    """When (monotonic seconds) ``version`` first answered, and how many requests failed before."""
    failed, until = 0, time.monotonic() + timeout
    while time.monotonic() < until:
        try:
            if ask(running.port, timeout=timeout)[0] == b"version %d" % version:
                return time.monotonic(), failed
        except OSError:
            failed += 1
        time.sleep(0.005)
    raise MeasurementFailed(f"{running.server.name}: version {version} not served in {timeout:g} s: {running.last_words()}")


def save(server: Server, imports: str, times: int = 4) -> Sample | None:
    """Saves ``times`` times, the median of them: one sample, so that five rounds make twenty saves."""
    if server.watch is None:
        return None
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        write(folder, imports, 0)
        waits, failures = [], 0
        with Running(server, watch=True, app="saved:app", folder=folder, pinned=False, wait=False) as running:
            running.first_answer()
            for version in range(1, times + 1):
                time.sleep(1.2 + random.random())  # the watcher is at rest, and mtime differs even in whole seconds
                since = time.monotonic()
                write(folder, imports, version)
                seen, failed = wait_for(running, version)
                waits.append((seen - since) * 1e3)
                failures += failed
    return {"save_ms": statistics.median(waits), "failed": failures / times}


def hello(server: Server, workers: int) -> Sample | None:
    return save(server, HELLO)


def heavy(server: Server, workers: int) -> Sample | None:
    return save(server, HEAVY)


SAVED = ("save_ms", "failed")
SAVES = (
    Moment("save", "File saved to new answer, an application that imports nothing", SAVED, hello),
    Moment("save-heavy", "File saved to new answer, an application that imports pandas and FastAPI", SAVED, heavy),
)
