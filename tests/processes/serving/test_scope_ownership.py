"""What an application does to the scope of one request is seen in no other, on the same connection or another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from socket import socket
from typing import Any

import pytest
from support.certificates import Authority
from support.harness import Server, raw_connection, read_response
from support.play import answer, body, start
from support.wire import CODECS, Receive, Send, Wire

pytest.importorskip("websockets", reason="websockets, a client of these tests, is not installed")
from websockets.asyncio.client import connect  # The one with threads reads and writes TLS at once: requests get lost.
from websockets.typing import Subprotocol

VANDAL = "tests.apps.vandal:app"
SHORT = b"GET /a HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n"
HEADS = {
    "short": SHORT,
    "cookie": SHORT.replace(b"\r\n\r\n", b"\r\nUser-Agent: " + b"x" * 190 + b"\r\nCookie: a=b\r\nPriority: u=0\r\n\r\n"),
    "proxied": SHORT.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\r\n"),
    "by h11": SHORT.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n"),
}
HEADS = {name: head.replace(b"\r\n\r\n", b"\r\nReferer: %b;\r\n\r\n" % name.encode()) for name, head in HEADS.items()}
LINE = "%(h)s %(r)s %(f)s"


def ask(connection: socket, head: bytes) -> dict[str, Any]:
    connection.sendall(head)
    scope: dict[str, Any] = json.loads(read_response(connection).body)
    return scope


def check(open_one: Callable[[], AbstractContextManager[socket]], head: bytes) -> dict[str, Any]:
    """Ask again and again, on two connections; returns what each request was told."""
    scopes = []
    for _ in range(2):
        with open_one() as connection:
            scopes += [ask(connection, head) for _ in range(4)]
    for scope in scopes:
        # The port is the connection's own.
        scope["client"] = scope["client"][:1]
        assert scope == scopes[0]
    assert "spoilt" not in json.dumps(scopes)
    return scopes[0]


@pytest.mark.parametrize("http", ["auto", "h11", "httptools"])
def test_http(http: str) -> None:
    with Server(VANDAL, "--http", http, "--access-log-format", LINE) as server:
        for name, head in HEADS.items():
            scope = check(lambda: raw_connection(server.port), head)
            assert scope["asgi"]["version"] == "3.0"
            assert scope["state"]["answer"] == 42
            # What the server itself reads of the request, when it is over, is not the scope's either.
            server.wait_for_log(f"{'192.0.2.9' if name == 'proxied' else '127.0.0.1'} GET /a HTTP/1.1 {name};\n", count=8)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def test_tls_with_a_clients_certificate(authority: Authority) -> None:
    chain, key = authority.issue()
    context = authority.client(authority.issue("client"))
    arguments = ("--ssl-certfile", chain, "--ssl-keyfile", key, "--ssl-ca-certs", authority.file, "--ssl-cert-reqs", "2")
    with Server(VANDAL, *arguments) as server:

        @contextmanager
        def secured() -> Any:
            with raw_connection(server.port) as plain, context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                yield wrapped

        for head in HEADS.values():
            assert check(secured, head)["extensions"]["tls"]["client_cert_chain"]
        check_websockets(f"wss://localhost:{server.port}/", ssl=context)


def check_websockets(address: str, **options: Any) -> None:
    protocols = [Subprotocol("chat"), Subprotocol("superchat")]

    async def ask() -> dict[str, Any]:
        async with connect(address, subprotocols=protocols, proxy=None, **options) as client:
            # The application has emptied its list of them, and accepts one nevertheless.
            assert client.subprotocol == "superchat"
            told: dict[str, Any] = json.loads(await client.recv())
            return told

    scopes = [asyncio.run(ask()) for _ in range(3)]
    for scope in scopes:
        assert scope["subprotocols"] == protocols
        assert ("tls" in scope["extensions"]) is bool(options)
        assert scope["extensions"].keys() == scopes[0]["extensions"].keys()
    assert "spoilt" not in json.dumps(scopes)


@pytest.mark.parametrize("http", ["auto", "h11"])
def test_websocket(http: str) -> None:
    with Server(VANDAL, "--http", http) as server:
        check_websockets(f"ws://127.0.0.1:{server.port}/")
        with raw_connection(server.port) as connection:
            # Behind requests of HTTP on the same connection, too.
            ask(connection, SHORT)
            upgrade = b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
            offer = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
            connection.sendall(SHORT.replace(b"\r\n\r\n", b"\r\n") + upgrade + offer)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
                if b"\x88" in answer.partition(b"\r\n\r\n")[2]:
                    break
            assert b"spoilt" not in answer


@pytest.mark.parametrize("codec", CODECS)
def test_no_two_scopes_share_what_can_be_changed(codec: str) -> None:
    """Also where no application of today would look: by identity."""

    def changeable(value: Any) -> list[int]:
        inner = list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, (list, tuple)) else []
        found = [number for one in inner for number in changeable(one)]
        return found + [id(value)] * isinstance(value, (dict, list, set, bytearray))

    async def play() -> None:
        first = Wire(codec=codec, state={"a": 1})
        second = Wire(codec=codec, service=first.service)
        for wire in (first, second):
            await wire.feed(*[*HEADS.values()] * 3)
            await wire.settle()
        found = [number for seen in first.seen for number in changeable(seen.scope)]
        assert len(found) > 5 * len(first.seen)
        assert len(found) == len(set(found))

    asyncio.run(play())


@pytest.mark.parametrize("codec", CODECS)
def test_an_application_that_empties_the_scope_still_sends_trailers(codec: str) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        scope["headers"].clear()
        await send(start() | {"trailers": True})
        await send(body(b"a"))
        await send({"type": "http.response.trailers", "headers": [(b"digest", b"b")]})

    async def play() -> None:
        wire = await answer(app, SHORT.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n"), codec=codec)
        (response,) = wire.responses()
        assert response["digest"] == "b"

    asyncio.run(play())
