"""Tools that embed uvicorn, with ``sys.modules["uvicorn"]`` pointing at ``tricorn``; uvicorn itself is not installed."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client as McpClient
from mcp.client.sse import sse_client
from support.harness import PATIENCE, ROOT, Client, Server, get, is_port_free, wait_until
from support.proxies import free_port
from websockets.sync.client import connect

HERE = Path(__file__).parent
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Nothing was compiled when it was installed, for most of it is never imported; what is imported is kept."""


class Tool(Server):
    """A program of somebody else's that serves by ``tricorn.run`` or ``tricorn.Server`` and believes these to be uvicorn's.

    ``PORT`` in its arguments is a port that the kernel has just picked: not all of these programs say which they got.
    """

    def __init__(self, *arguments: str) -> None:
        super().__init__("", env=COMPILED | {"PYTHONPATH": str(ROOT)}, listen=())
        self.port = free_port()
        self.command = [sys.executable, str(HERE / "in_uvicorns_place.py"), *arguments]
        self.command = [str(self.port) if one == "PORT" else one for one in self.command]

    def __enter__(self) -> Tool:
        super().__enter__()
        try:
            self.wait_until(lambda: self.process.poll() is not None or is_listened_on(self.port))
            assert self.process.poll() is None, self.log
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def connections(self) -> list[str]:
        """The states of the connections that it has from its clients."""
        found = psutil.Process(self.pid).net_connections("tcp")
        return [one.status for one in found if one.laddr.port == self.port and one.status != psutil.CONN_LISTEN]

    def ends(self, *codes: int) -> None:
        """It has seen that its clients are gone; told to stop it stops, in order."""
        self.wait_until(lambda: not self.connections(), what="clients are gone and it does not notice")
        assert self.stop() in codes
        assert is_port_free(self.port)
        assert "Traceback" not in self.log


def is_listened_on(port: int) -> bool:
    """Whether anybody listens on the port. To try to bind it would keep the tool from it at that moment."""
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in psutil.net_connections("tcp4"))


def test_uvicorn_is_not_here() -> None:
    """Otherwise a tool could have been served by it after all."""
    assert importlib.util.find_spec("uvicorn") is None


def test_datasette() -> None:
    with Tool("datasette", "serve", "--memory", "-p", "PORT") as tool:
        answer = get(tool.port, "/_memory.json?sql=select+6*7+as+answer&_shape=array")
        assert (answer.headers["server"], json.loads(answer.body)) == ("tricorn", [{"answer": 42}])
        tool.ends(-signal.SIGTERM)


@pytest.mark.parametrize(("command", "codes"), [("run", (-signal.SIGTERM,)), ("dev", (0,))])
def test_fastapis_own_command(command: str, codes: tuple[int, ...]) -> None:
    """``fastapi run`` serves in its own process, ``fastapi dev`` with reload by a supervisor."""
    with Tool("fastapi", command, str(HERE / "apps" / "fastapi_site.py"), "--port", "PORT") as tool:
        answer = wait_until(lambda: get(tool.port))
        assert (answer.headers["server"], answer.body) == ("tricorn", b"hello from fastapi")
        tool.ends(*codes)


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
def test_mcp(transport: str) -> None:
    """With the client of the SDK itself, which waits for events while it calls."""

    async def call(base: str) -> Any:
        where = f"{base}/mcp" if transport == "streamable-http" else sse_client(f"{base}/sse")
        async with McpClient(where) as client:
            return await client.call_tool("shout", {"text": "quiet"})

    with Tool("tests.compat.frameworks.apps.tools", transport, "PORT") as tool:
        result = asyncio.run(asyncio.wait_for(call(f"http://127.0.0.1:{tool.port}"), PATIENCE))
        assert (result.is_error, result.content[0].text) == (False, "QUIET")
        assert get(tool.port, "/nothing").headers["server"] == "tricorn"
        tool.ends(-signal.SIGTERM)


def test_marimo() -> None:
    """The page, and what it opens by itself: a WebSocket, over which it hears what has become of the cells."""
    notebook = str(HERE / "apps" / "notebook.py")
    with Tool("marimo", "run", notebook, "--headless", "--no-token", "-p", "PORT") as tool:
        page = get(tool.port)
        assert (page.status, page.headers["server"]) == (200, "tricorn")
        with connect(f"ws://127.0.0.1:{tool.port}/ws?session_id=s_tests0", open_timeout=PATIENCE, max_size=None) as client:
            assert json.loads(client.recv(timeout=PATIENCE))["op"] == "kernel-ready"
            wait_until(lambda: "one and two" in client.recv(timeout=PATIENCE))
        tool.ends(0, -signal.SIGTERM)


def test_asgi_webdav(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("found")
    signed = {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}
    with Tool("asgi_webdav", "-P", "PORT", "-u", "me", "secret", "-r", str(tmp_path)) as tool:
        client = Client(tool.port)
        assert client.get("/").status == 401
        listing = client.ask("PROPFIND", "/", headers=signed | {"Depth": "1"})
        assert (listing.status, b"there.txt" in listing.body) == (207, True)
        assert client.ask("PUT", "/new.txt", b"x" * 300_000, signed).status == 201
        answer = client.ask("GET", "/there.txt", headers=signed)
        assert (answer.headers["server"], answer.body) == ("tricorn", b"found")
        assert (tmp_path / "new.txt").stat().st_size == 300_000
        client.close()
        tool.ends(-signal.SIGTERM)
