"""HTTP/2 on real sockets: by ALPN and by prior knowledge, on TCP and UNIX sockets, behind the PROXY protocol; drains."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.h2_raw import BEGIN, Frame, read_frames, request
from support.harness import PATIENCE, Server, get
from tricorn.protocols.http2 import frames as f
from tricorn.protocols.http2.hpack import Decoder

PROBE = "tests.apps.beside:app"


class Peer:
    """A client that reads frames from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(PATIENCE)
        self._data = b""
        self._decoder = Decoder()
        self.statuses: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.last: list[int] = []
        """The last stream of each GOAWAY."""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def read(self) -> bool:
        """Read what comes next; False at the end."""
        data = self.connection.recv(65536)
        self._data += data
        while len(self._data) >= 9:
            end = 9 + (f.HEAD.unpack_from(self._data)[0] >> 8)
            if len(self._data) < end:
                break
            (frame,) = read_frames(self._data[:end])
            self._data = self._data[end:]
            self._note(frame)
        return bool(data)

    def _note(self, frame: Frame) -> None:
        if frame.kind == f.HEADERS:
            fields = dict(self._decoder.decode(frame.payload, 1 << 20)[0])
            self.statuses[frame.stream] = fields[b":status"].decode()
        elif frame.kind == f.DATA:
            self.bodies[frame.stream] = self.bodies.get(frame.stream, b"") + frame.payload
        elif frame.kind == f.RST_STREAM:
            self.resets[frame.stream] = frame.code
        elif frame.kind == f.GOAWAY:
            self.last.append(struct.unpack_from(">I", frame.payload)[0])
        elif frame.kind == f.PING and not frame.flags:
            self.send(f.frame(f.PING, f.ACK, 0, frame.payload))
        if frame.kind in (f.HEADERS, f.DATA) and frame.flags & f.END_STREAM:
            self.ended.add(frame.stream)

    def answer(self, stream: int) -> tuple[str, bytes]:
        """Status and body of a request, once it is answered."""
        while stream not in self.ended:
            assert self.read(), "closed before the answer"
        return self.statuses[stream], self.bodies.get(stream, b"")


def scope_of(peer: Peer, stream: int = 1) -> dict[str, Any]:
    peer.send(
        BEGIN + request(stream, pseudo=(*(("method", "GET"), ("scheme", "http"), ("path", "/scope")), ("authority", "a")))
    )
    status, body = peer.answer(stream)
    assert status == "200"
    return json.loads(body)  # type: ignore[no-any-return]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["auto", "h11", "httptools"])
def test_prior_knowledge(http: str, loop: str) -> None:
    with Server(PROBE, "--http", http, "--loop", loop) as server:
        assert get(server.port).status == 200
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            assert scope_of(Peer(connection))["http_version"] == "2"
        server.wait_for_log(r'"GET /scope HTTP/2" 200')


def test_prior_knowledge_on_a_unix_socket_behind_the_proxy_protocol(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with (
        Server(PROBE, "--proxy-protocol", "--forwarded-allow-ips", "unix:", listen=("--uds", path)) as server,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        server.wait_for_ready(1)
        connection.connect(path)
        connection.sendall(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n")
        scope = scope_of(Peer(connection))
        assert (scope["http_version"], scope["client"]) == ("2", ["203.0.113.9", 4711])


def test_no_http2() -> None:
    with Server(PROBE, "--no-http2") as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(BEGIN)
        assert connection.recv(100).startswith(b"HTTP/1.1 505 ")


def connect_tls(authority: Authority, port: int, protocols: list[str], **options: Any) -> ssl.SSLSocket:
    context = authority.client()
    context.set_alpn_protocols(protocols)
    for name, value in options.items():
        if name == "ciphers":
            context.set_ciphers(value)
        else:
            setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_alpn(loop: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost")
    with Server(PROBE, "--ssl-certfile", cert, "--ssl-keyfile", key, "--loop", loop) as server:
        with connect_tls(authority, server.port, ["h2", "http/1.1"]) as connection:
            assert connection.selected_alpn_protocol() == "h2"
            scope = scope_of(Peer(connection))
            assert (scope["http_version"], scope["scheme"]) == ("2", "https")
        with connect_tls(authority, server.port, ["http/1.1"]) as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"
        # RFC 9113 section 9.2.2: suites without forward secrecy or AEAD are not for HTTP/2.
        old = {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA384"}
        with connect_tls(authority, server.port, ["h2"], **old) as connection:
            peer = Peer(connection)
            while not peer.last:
                assert peer.read()


def test_reload_loses_no_request() -> None:
    """Requests on their way when the worker leaves are answered; those behind the last stream are refused."""
    with Server(PROBE, "--workers", "2") as server:
        for _ in range(3):
            reload_under_requests(server)


def reload_under_requests(server: Server) -> None:
    before = server.wait_for_workers(2)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        peer = Peer(connection)
        scope_of(peer)
        server.send(signal.SIGHUP)
        stream = 3
        while len(peer.last) < 2:
            peer.send(request(stream))
            stream += 2
            assert peer.read()
        while peer.read():
            pass
    assert peer.last[0] == f.MAX_STREAM_ID
    for number in range(3, stream, 2):
        if number <= peer.last[-1]:
            assert number in peer.ended
        else:
            assert peer.resets.get(number, f.REFUSED_STREAM) == f.REFUSED_STREAM
    server.wait_until(lambda: not set(before) & set(server.workers()))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        assert scope_of(Peer(connection))["http_version"] == "2"
