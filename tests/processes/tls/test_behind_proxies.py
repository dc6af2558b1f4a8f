"""Behind a real nginx and a real HAProxy: keep-alive, uploads, streams, WebSocket, the PROXY protocol, TLS, and reloads."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.harness import ROOT, Client, Server, get, raw_connection, read_response, send_request
from support.load import Load
from support.proxies import HAProxy, Nginx, Proxy
from websockets.sync.client import connect

APP = "tests.apps.tells:app"

Front = Callable[..., Proxy]


@pytest.fixture(params=[Nginx, HAProxy], ids=["nginx", "haproxy"])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Front:
    """Makes the proxy for a server's address."""
    kind = request.param

    def make(upstream: str, **options: str) -> Proxy:
        proxy: Proxy = kind(tmp_path, upstream, **options)
        return proxy

    return make


def told_by(port: int, *headers: str) -> tuple[dict[str, Any], tuple[str, int]]:
    """What the application is told of a request through the proxy, and the client's real address."""
    with raw_connection(port) as connection:
        send_request(connection, "/scope", *headers)
        told: dict[str, Any] = json.loads(read_response(connection).body)
        return told, connection.getsockname()


def test_requests_share_upstream_connections(front: Front) -> None:
    with Server(APP, "--no-proxy-headers") as server, front(f"127.0.0.1:{server.port}") as proxy:
        used = {tuple(told_by(proxy.port)[0]["client"]) for _ in range(20)}
        # Not one only: a proxy of several threads keeps connections for each.
        assert len(used) <= 10, "most clients came on a connection of their own"


def test_the_real_client_is_told(front: Front) -> None:
    with Server(APP) as server, front(f"127.0.0.1:{server.port}") as proxy:
        assert told_by(proxy.port)[0]["client"] == ["127.0.0.1", 0]
        # The proxy's own entry is a trusted address as well, so the one before it counts.
        assert told_by(proxy.port, "X-Forwarded-For: 1.2.3.4")[0]["client"] == ["1.2.3.4", 0]
    with Server(APP, "--no-proxy-headers") as server, front(f"127.0.0.1:{server.port}") as proxy:
        told, client = told_by(proxy.port)
        assert told["client"][1] not in (0, client[1])


def test_over_a_unix_socket(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with Server(APP, "--forwarded-allow-ips", "unix:", listen=("--uds", str(path))) as server:
        server.wait_for_ready(1)
        with front(f"unix:{path}" if front_name(front, path) == "nginx" else f"unix@{path}") as proxy:
            assert told_by(proxy.port)[0]["client"] == ["127.0.0.1", 0]


def front_name(front: Front, path: Path) -> str:
    return front(str(path)).name


@pytest.mark.parametrize("size", [0, 1, 65536, 8_000_000])
def test_uploads(front: Front, size: int) -> None:
    with Server(APP) as server, front(f"127.0.0.1:{server.port}") as proxy:
        client = Client(proxy.port)
        assert client.ask("POST", "/upload", bytes(size)).body == str(size).encode()
        # Chunked, as a client that does not know the size sends it.
        client.request("POST", "/upload", (bytes(size // 4) for _ in range(4)), encode_chunked=True)
        assert client.getresponse().read() == str(size // 4 * 4).encode()
        client.close()


def test_an_upload_is_passed_on_while_it_comes(front: Front) -> None:
    options = {"more": "proxy_request_buffering off;"} if front_name(front, Path("x")) == "nginx" else {}
    with Server(APP) as server, front(f"127.0.0.1:{server.port}", **options) as proxy:
        client = Client(proxy.port)
        assert client.ask("POST", "/upload", bytes(8_000_000), {"Expect": "100-continue"}).body == b"8000000"
        client.close()


@pytest.mark.parametrize(
    ("path", "end", "size"), [("/stream", b"4\nend\n", 14), ("/big", b"xxxx", 8_000_000), ("/file", b"", None)]
)
def test_downloads(front: Front, path: str, end: bytes, size: int | None) -> None:
    with Server(APP) as server, front(f"127.0.0.1:{server.port}") as proxy:
        client = Client(proxy.port)
        for _ in range(3):
            body = client.get(path).body
            assert body.endswith(end)
            assert len(body) == ((ROOT / "tests" / "apps" / "tells.py").stat().st_size if size is None else size)
        client.close()


def test_websocket(front: Front) -> None:
    with (
        Server(APP) as server,
        front(f"127.0.0.1:{server.port}") as proxy,
        connect(f"ws://127.0.0.1:{proxy.port}/ws", proxy=None) as websocket,
    ):
        told = json.loads(websocket.recv())
        assert (told["type"], told["scheme"], told["client"]) == ("websocket", "ws", ["127.0.0.1", 0])
        for size in (1, 1000, 300_000):
            websocket.send("x" * size)
            assert websocket.recv() == "x" * size
        websocket.close(1000)


def to_tls(front: Front, authority: Authority) -> dict[str, str]:
    """Options by which the proxy speaks TLS with the server, and looks at its certificate."""
    if front_name(front, Path("x")) == "haproxy":
        return {"more": f"ssl verify required ca-file {authority.file} sni str(localhost) verifyhost localhost"}
    lines = [
        f"proxy_ssl_trusted_certificate {authority.file}",
        "proxy_ssl_verify on",
        "proxy_ssl_name localhost",
        "proxy_ssl_protocols TLSv1.2 TLSv1.3",
    ]
    return {"scheme": "https", "more": ";".join([*lines, ""])}


def test_tls_to_the_server(front: Front, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    with (
        Server(APP, "--ssl-certfile", certificate, "--ssl-keyfile", key) as server,
        front(f"127.0.0.1:{server.port}", **to_tls(front, authority)) as proxy,
    ):
        told, _ = told_by(proxy.port)
        # The client's scheme, not the proxy's: X-Forwarded-Proto says so.
        assert (told["scheme"], told["extensions"]["tls"]["tls_version"]) == ("http", 0x0304)
        with Load(proxy.port, connections=4, limit=200) as load:
            assert not load.join().failures, load.tally
        with connect(f"ws://127.0.0.1:{proxy.port}/ws", proxy=None) as websocket:
            assert json.loads(websocket.recv())["extensions"]["tls"]


@pytest.mark.parametrize("kind", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_proxy_protocol_of_haproxy(kind: str, secure: bool, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    arguments = ["--ssl-certfile", certificate, "--ssl-keyfile", key] if secure else []
    more = f"{kind} check-send-proxy check inter 100ms" + (f" ssl verify required ca-file {authority.file}" if secure else "")
    with (
        Server(APP, "--proxy-protocol", "--no-proxy-headers", *arguments) as server,
        HAProxy(tmp_path, f"127.0.0.1:{server.port}", more=more, reuse="never") as proxy,
    ):
        for _ in range(3):
            told, client = told_by(proxy.port)
            assert told["client"] == [*client]
            assert told["server"] == ["127.0.0.1", proxy.port]
            assert told["scheme"] == ("https" if secure else "http")
        server.wait_for_log(rf'127\.0\.0\.1:{client[1]} - "GET /scope')
        with connect(f"ws://127.0.0.1:{proxy.port}/ws", proxy=None) as websocket:
            assert json.loads(websocket.recv())["client"] == [*websocket.local_address]
        assert "trusted peer closed" not in server.log


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_no_request_fails_while_the_server_reloads(front: Front, secure: bool, tmp_path: Path) -> None:
    """No 502, and no second attempt that would hide one: HAProxy and nginx are told to make none."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    options = to_tls(front, authority) if secure else {"more": ""}
    if front_name(front, Path("x")) == "nginx":
        options["more"] += "proxy_next_upstream off;"
    arguments = ["--ssl-certfile", certificate, "--ssl-keyfile", key] if secure else []
    with (
        # Whose keep-alive timeout is longer than the proxy's can't close a connection just as the proxy uses it again.
        Server(APP, "--workers", "2", "--no-access-log", "--timeout-keep-alive", "120", *arguments) as server,
        front(f"127.0.0.1:{server.port}", **options) as proxy,
    ):
        server.wait_for_ready(2)
        before = set(server.workers())
        with Load(proxy.port, connections=16, pause=0.002) as load:
            for number in (1, 2, 3):
                server.send(signal.SIGHUP)
                server.wait_for_log("Reload complete", count=number)
                load.wait_for_more(200)
            server.wait_until(lambda: not before & set(server.workers()), what="the first workers leave")
        assert not load.tally.failures, load.tally
        assert get(proxy.port).status == 200
