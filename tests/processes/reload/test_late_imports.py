"""Installed packages that are deleted under a running server: whatever clients ask for is answered all the same."""

from __future__ import annotations

import base64
import importlib.util
import os
import shutil
import signal
from pathlib import Path

import pytest
from support.h2_raw import BEGIN, data, request
from support.harness import ROOT, Server, environment, get, raw_connection, read_response, send_request

NEEDED = ("h11", "wsproto", "click", "psutil", "websockets", "httptools")
APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        return
    assert scope["type"] == "http"
    await asyncio.to_thread(int)
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


class Installed(Server):
    """A server whose packages are copies; nothing else is on the import path."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__("late:app", "--loop", "asyncio", "--log-level", "debug", *arguments)
        self.site = folder / "site"
        self.site.mkdir()
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", self.site / "tricorn", ignore=without)
        for name in NEEDED:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.submodule_search_locations:
                shutil.copytree(spec.submodule_search_locations[0], self.site / spec.name, ignore=without)
        (folder / "late.py").write_text(APP)
        self.cwd = folder
        self.env = environment({"PYTHONPATH": str(self.site)})
        # Without site-packages.
        self.command[1:1] = ["-S"]

    def uninstall(self) -> None:
        shutil.rmtree(self.site)


def ask(port: int, request: bytes) -> tuple[int, bytes]:
    with raw_connection(port) as connection:
        connection.sendall(request)
        answer = read_response(connection)
        return answer.status, answer.body


def upgrade(port: int, extensions: str = "") -> bytes:
    """Say hello through a WebSocket; returns the frame that comes back."""
    with raw_connection(port) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        headers = [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Connection: Upgrade", "Upgrade: websocket"]
        send_request(connection, "/", *headers, *([f"Sec-WebSocket-Extensions: {extensions}"] if extensions else []))
        head = b""
        while b"\r\n\r\n" not in head:
            byte = connection.recv(1)
            assert byte, head
            head += byte
        assert head.startswith(b"HTTP/1.1 101"), head
        # Masked with zeros (RFC 6455 section 5.3), in two fragments, so that no fast lane takes it.
        connection.sendall(b"\x01\x83\0\0\0\0hel" + b"\x80\x82\0\0\0\0lo")
        return connection.recv(100)


def ask_http2(port: int, header: bytes) -> bytes:
    """What the server sends for a POST with the body ``abc``, to the end of its answer."""
    pseudo = (("method", "POST"), ("scheme", "http"), ("path", "/"), ("authority", "a"))
    with raw_connection(port) as connection:
        connection.sendall(header + BEGIN + request(1, end=False, pseudo=pseudo) + data(1, b"abc", end=True))
        output = b""
        while not output.endswith(b"abc"):
            part = connection.recv(65536)
            assert part, output
            output += part
        return output


REQUESTS = {
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n": (200, b""),
    b"GET / HTTP/1.0\r\n\r\n": (200, b""),
    b"GET /%C3%A4?b HTTP/1.1\r\nHost: [::1]:80\r\nX-Forwarded-For: 1.2.3.4, ::1\r\nForwarded: for=1.2.3.4\r\n\r\n": (200, b""),
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n": (200, b"abc"),
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc": None,
    b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n": (400, None),
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n": None,
    b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n": (400, None),
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n": (431, None),
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": (400, None),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": (400, None),
}


@pytest.mark.parametrize(
    "options",
    [(), ("--http", "httptools", "--ws", "websockets"), ("--proxy-protocol",)],
    ids=" ".join,
)
def test_every_kind_of_request_is_answered(tmp_path: Path, options: tuple[str, ...]) -> None:
    for name in ("httptools", "websockets"):
        if name in options:
            pytest.importorskip(name, reason=f"{name} is not installed")
    header = b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n" if "--proxy-protocol" in options else b""
    with Installed(tmp_path, *options, "--workers", "2") as server:
        server.wait_for_ready(2)
        server.wait_for_provision()
        server.uninstall()
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        for sent, expected in REQUESTS.items():
            for _ in range(4):
                status, body = ask(server.port, header + sent)
                if expected is not None:
                    assert (status, expected[1] and body) == expected, sent
            assert ask_http2(server.port, header).endswith(b"abc")
        if not header:
            assert upgrade(server.port).startswith(b"\x81\x05hello")
            # A whole message of text, compressed or not (RFC 7692 section 6).
            assert upgrade(server.port, "permessage-deflate")[:1] in (b"\x81", b"\xc1")
        assert "Traceback" not in server.log
        assert "ModuleNotFound" not in server.log


def test_what_needs_a_new_process_fails_cleanly(tmp_path: Path) -> None:
    with Installed(tmp_path, "--workers", "2", "--limit-crashes", "3") as server:
        server.wait_for_ready(2)
        (tmp_path / "late.py").write_text("import h11.nowhere\n" + APP)
        server.uninstall()
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload abandoned")
        assert get(server.port).status == 200
        os.kill(server.workers()[0], signal.SIGKILL)
        assert server.wait_for_exit() == 4
