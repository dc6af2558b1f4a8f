"""An application for tests of ``--preload``: it says which process has imported it."""

from __future__ import annotations

from pathlib import Path

from support.harness import Server, get

APPLICATION = """
import os
VERSION = "{version}"
PID = os.getpid()
{more}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    text = {{"/pid": os.getpid(), "/importer": PID}}.get(scope["path"], VERSION)
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": str(text).encode()}})
"""
SHARED = r"Template \[(\d+)\]: workers share the application"


class Shop:
    """An application in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("one")

    def write(self, version: str, more: str = "") -> None:
        """Save the application; ``more`` is executed at its import."""
        (self.folder / "shop.py").write_text(APPLICATION.format(version=version, more=more))
        # Python takes compiled code for current if the source has the same second and size.
        for compiled in (self.folder / "__pycache__").glob("*"):
            compiled.unlink()

    def serve(self, *arguments: str, preload: str = "app") -> Server:
        return Server("shop:app", "--app-dir", str(self.folder), "--preload", preload, *arguments)


def template_of(server: Server, count: int = 1) -> int:
    """The pid of the template that has said it is ready, the ``count``-th since the start."""
    return int(server.wait_for_log(SHARED, count=count).group(1))


def importers(server: Server, requests: int = 30) -> set[int]:
    """The processes that have imported the application for the workers that answer."""
    return {int(get(server.port, "/importer").body) for _ in range(requests)}
