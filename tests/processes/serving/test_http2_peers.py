"""HTTP/2 with real peers: curl, nghttp, h2load, httpx, h2, Chromium, and nginx and HAProxy that speak it with the server."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.h2_relay import Relay
from support.harness import PATIENCE, ROOT, Client, Server
from support.load import Load
from support.proxies import HAProxy, NginxToHttp2, Proxy, find

APP = "tests.apps.tells:app"
PID = "tests.apps.probe:app"
BIG = 8_000_000
"""Bytes that the application answers to /big."""
FILE = (ROOT / "tests" / "apps" / "tells.py").read_bytes()


def run(*command: str) -> str:
    """What a program prints that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@contextmanager
def tls_server(folder: Path, *options: str) -> Iterator[tuple[Server, Authority]]:
    authority = Authority(folder)
    cert, key = authority.issue("localhost")
    with Server(APP, "--ssl-certfile", cert, "--ssl-keyfile", key, *options) as server:
        yield server, authority


# Single clients.


def test_curl(tmp_path: Path) -> None:
    curl = [find("curl"), "-sS", "--max-time", str(PATIENCE), "-w", "\n%{http_version} %{http_code}"]
    if "HTTP2" not in run(curl[0], "--version"):
        pytest.skip("this curl does not speak HTTP/2")
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(3_000_000))
    with tls_server(tmp_path) as (server, authority):
        url = f"https://localhost:{server.port}"
        ask = [*curl, "--cacert", authority.file]
        assert run(*ask, f"{url}/").splitlines() == ["ok", "2 200"]
        assert run(*ask, "-T", str(upload), f"{url}/upload").splitlines() == ["3000000", "2 200"]
        assert run(*ask, "-T", str(upload), "-H", "Expect: 100-continue", f"{url}/upload").splitlines() == ["3000000", "2 200"]
        assert len(run(*ask, f"{url}/big")) == BIG + len("\n2 200")
        assert run(*ask, "--http1.1", f"{url}/").splitlines() == ["ok", "1.1 200"]
        assert run(*ask, "-I", f"{url}/big").startswith("HTTP/2 200")
    with Server(APP) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert run(*curl, "--http2-prior-knowledge", f"{url}/stream").split()[-3:] == ["end", "2", "200"]
        # Upgrade: h2c is no longer part of HTTP/2, and ignored.
        assert run(*curl, "--http2", f"{url}/").splitlines() == ["ok", "1.1 200"]


def test_nghttp(tmp_path: Path) -> None:
    """It uses padding, priorities of RFC 7540, CONTINUATION, and trailers."""
    nghttp = find("nghttp")
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(300_000))
    with Server(APP) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert run(nghttp, "--padding=200", f"{url}/").strip() == "ok"
        assert run(nghttp, "--padding=200", "-d", str(upload), "--trailer=a: b", f"{url}/upload").strip() == "300000"
        assert run(nghttp, "--continuation", f"{url}/").strip() == "ok"
        statistics = run(nghttp, "-ns", "-m", "20", f"{url}/stream", f"{url}/big", f"{url}/file", f"{url}/")
        assert len(re.findall(r" 200 +\d+\S* /", statistics)) == 80
        for bits in ("10", "16", "24"):
            assert len(run(nghttp, f"--window-bits={bits}", f"{url}/big")) == BIG


def test_httpx(tmp_path: Path) -> None:
    httpx: Any = pytest.importorskip("httpx")
    pytest.importorskip("h2")
    with (
        tls_server(tmp_path) as (server, authority),
        httpx.Client(http2=True, verify=authority.client(), timeout=PATIENCE, trust_env=False) as client,
    ):
        url = f"https://localhost:{server.port}"
        for _ in range(3):
            answer = client.get(f"{url}/file")
            assert (answer.http_version, answer.content) == ("HTTP/2", FILE)
        assert client.post(f"{url}/upload", content=(bytes(10_000) for _ in range(100))).text == "1000000"
        with client.stream("GET", f"{url}/big") as answer:
            # It resets the stream; the connection goes on.
            next(answer.iter_raw())
        assert client.get(f"{url}/").text == "ok"


def test_h2() -> None:
    """The package ``h2`` over a socket: a hundred requests at once."""
    connection: Any = pytest.importorskip("h2.connection")
    events: Any = pytest.importorskip("h2.events")
    with Server(APP) as server, socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as link:
        client = connection.H2Connection()
        client.initiate_connection()
        pseudo = [(":method", "GET"), (":scheme", "http"), (":path", "/file"), (":authority", "localhost")]
        for stream in range(1, 200, 2):
            client.send_headers(stream, pseudo, end_stream=True)
        link.sendall(client.data_to_send())
        bodies: dict[int, bytes] = {}
        ended: set[int] = set()
        while len(ended) < 100:
            data = link.recv(65536)
            assert data
            for event in client.receive_data(data):
                if isinstance(event, events.DataReceived):
                    bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, events.StreamEnded):
                    ended.add(event.stream_id)
            link.sendall(client.data_to_send())
        assert set(bodies.values()) == {FILE}


FETCHES = """
Promise.all([...Array(150).keys()].map(async (number) => {
    const post = {method: 'POST', body: 'x'.repeat(number)};
    const answer = await (number % 3 ? fetch('/scope?' + number) : fetch('/upload', post));
    const text = await answer.text();
    return answer.status === 200 && (number % 3 ? JSON.parse(text).type === 'http' : text === String(number));
})).then((all) => all.filter(Boolean).length)
"""
PROTOCOLS = "[...new Set(performance.getEntries().map((entry) => entry.nextHopProtocol).filter(Boolean))]"
ECHO = """
new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/ws`), told = [];
    socket.onmessage = (event) => { told.push(event.data); if (told.length === 3) socket.close(1000); };
    socket.onopen = () => { socket.send('a'); socket.send('b'.repeat(200000)); };
    socket.onclose = (event) => resolve(JSON.stringify([JSON.parse(told[0]), told[1], told[2].length, event.code]));
})
"""


def test_chromium(tmp_path: Path) -> None:
    """A page's requests share one connection over TLS, and so does its WebSocket (RFC 8441)."""
    pytest.importorskip("websockets", reason="websockets, which carries the browser's remote control, is not installed")
    from support.browser import PROGRAM, Browser

    if PROGRAM is None:
        pytest.skip("chromium is not installed")
    with tls_server(tmp_path) as (server, _), Browser(tmp_path / "profile", "--ignore-certificate-errors") as browser:
        with browser.open(f"https://localhost:{server.port}/file") as tab:
            tab.wait_for("location.pathname + document.readyState", "/filecomplete")
            assert tab.run(FETCHES) == 150
            assert tab.run(PROTOCOLS) == ["h2"]
            told, first, second, code = json.loads(tab.run(ECHO))
            assert (told["type"], told["scheme"], first, second, code) == ("websocket", "wss", "a", 200_000, 1000)
            assert tab.run("fetch('/big').then((answer) => answer.blob()).then((blob) => blob.size)") == BIG
        clients = {line.group(1) for line in re.finditer(r'127\.0\.0\.1:(\d+) - "(?:GET|POST) /(?:scope|upload)', server.log)}
        assert len(clients) == 1
        assert re.search(rf"127\.0\.0\.1:{clients.pop()} - \"WebSocket /ws", server.log)


# Proxies.


def http2_front(kind: type[Proxy], folder: Path, server: Server) -> Proxy:
    """A proxy that speaks HTTP/2 with the server."""
    more = "proto h2" if kind is HAProxy else "grpc_next_upstream off;"
    return kind(folder, f"127.0.0.1:{server.port}", more=more)


@pytest.fixture(params=[NginxToHttp2, HAProxy], ids=["nginx", "haproxy"])
def front(request: pytest.FixtureRequest) -> type[Proxy]:
    kind: type[Proxy] = request.param
    return kind


def test_behind_a_proxy_that_speaks_http2(front: type[Proxy], tmp_path: Path) -> None:
    with Server(APP) as server, http2_front(front, tmp_path, server) as proxy:
        client = Client(proxy.port)
        for size in (0, 1, 65536, 8_000_000):
            assert client.ask("POST", "/upload", bytes(size)).body == str(size).encode()
        assert len(client.get("/big").body) == BIG
        assert client.get("/stream").body.endswith(b"4\nend\n")
        assert client.get("/file").body == FILE
        client.close()
        server.wait_for_log('"POST /upload HTTP/2" 200', count=4)


def test_no_request_through_a_proxy_fails_while_the_server_reloads(front: type[Proxy], tmp_path: Path) -> None:
    """No 502, and no second attempt that would hide one: HAProxy and nginx are told to make none."""
    with (
        Server(PID, "--workers", "2", "--no-access-log", "--timeout-keep-alive", "120") as server,
        http2_front(front, tmp_path, server) as proxy,
    ):
        server.wait_for_ready(2)
        with Load(proxy.port, connections=16, pause=0.002) as load:
            for number in (1, 2, 3):
                server.send(signal.SIGHUP)
                server.wait_for_log("Reload complete", count=number)
                load.wait_for_more(200)
        assert not load.tally.failures, load.tally


def test_websocket_through_haproxy(tmp_path: Path) -> None:
    """The client speaks HTTP/1.1 with HAProxy, and HAProxy opens a stream for it (RFC 8441)."""
    client: Any = pytest.importorskip("websockets.sync.client")
    with Server(APP) as server, http2_front(HAProxy, tmp_path, server) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/ws"
        with client.connect(url, proxy=None) as one, client.connect(url, proxy=None) as two:
            for one_of in (one, two):
                assert json.loads(one_of.recv(PATIENCE))["type"] == "websocket"
                for size in (1, 1000, 300_000):
                    one_of.send("x" * size)
                    assert one_of.recv(PATIENCE) == "x" * size
            one.close(1000)
            server.wait_for_log("closed 1000")
            server.send(signal.SIGHUP)
            with pytest.raises(pytest.importorskip("websockets.exceptions").ConnectionClosed):
                two.recv(PATIENCE)
            assert two.close_code == 1012


# h2load while the server reloads.

COUNTS = re.compile(r"^requests: (\d+) total, .* (\d+) succeeded,", re.M)


def reload_under_h2load(server: Server, port: int) -> list[tuple[int, ...]]:
    """Reload three times while h2load runs again and again: of each run how many requests were wanted, and answered by 200."""
    command = [find("h2load"), "-n1000", "-c8", "-m8", f"http://127.0.0.1:{port}/slow?seconds=0.03"]
    runs: list[tuple[int, ...]] = []
    over = threading.Event()

    def keep_loading() -> None:
        while not over.is_set():
            found = COUNTS.search(run(*command))
            assert found is not None
            runs.append(tuple(map(int, found.groups())))

    thread = threading.Thread(target=keep_loading)
    thread.start()
    try:
        for number in (1, 2, 3):
            seen = len(runs)
            server.wait_until(lambda seen=seen: len(runs) > seen or not thread.is_alive())  # type: ignore[misc]
            server.send(signal.SIGHUP)
            server.wait_for_log("Reload complete", count=number)
    finally:
        over.set()
        thread.join(PATIENCE)
    assert len(runs) >= 3
    return runs


def test_h2load_loses_nothing_that_it_has_sent_while_the_server_reloads() -> None:
    """It never connects again: what it has not sent when it hears GOAWAY it calls failed. All else is answered."""
    find("h2load")
    with Server(PID, "--workers", "2", "--no-access-log") as server, Relay(server.port) as relay:
        server.wait_for_ready(2)
        runs = reload_under_h2load(server, relay.port)
    assert sum(len(link.answered) for link in relay.links) == sum(answered for _, answered in runs)
    assert [fault for link in relay.links for fault in link.lost()] == []
    assert any(link.last for link in relay.links)


def test_h2load_through_haproxy_loses_nothing_while_the_server_reloads(tmp_path: Path) -> None:
    """HAProxy opens new connections itself, so nothing at all fails."""
    find("h2load")
    with (
        Server(PID, "--workers", "2", "--no-access-log") as server,
        Relay(server.port) as relay,
        HAProxy(tmp_path, f"127.0.0.1:{relay.port}", more="proto h2", listen="proto h2") as proxy,
    ):
        server.wait_for_ready(2)
        runs = reload_under_h2load(server, proxy.port)
    lost = [fault for link in relay.links for fault in link.lost()]
    assert all(wanted == answered for wanted, answered in runs), (runs, lost)
    assert lost == []
