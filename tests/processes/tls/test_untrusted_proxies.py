"""What is said of peers that tell of their clients and are not trusted."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.harness import Client, Server, raw_connection, read_response, send_request
from tricorn.protocols.proxy.headers import MAX_NAMED, Proxies, Trusted

APP = "tests.apps.tells:app"
HEADERS = {"x-forwarded-for": "X-Forwarded-For: 192.0.2.1", "forwarded": "Forwarded: for=192.0.2.1"}
LINE = (
    "WARNING:  X-Forwarded headers of {0} are ignored: it is not trusted; if it is your proxy, give --forwarded-allow-ips {0}"
)


@pytest.mark.parametrize("codec", ["auto", "h11", "httptools"])
@pytest.mark.parametrize("header", HEADERS)
def test_it_is_said_once_for_each_peer(codec: str, header: str) -> None:
    with Server(APP, "--http", codec, "--forwarded-allow-ips", "10.0.0.1") as server:
        for _ in range(2):
            with raw_connection(server.port) as connection:
                for _ in range(2):
                    send_request(connection, "/scope", HEADERS[header])
                    assert b"192.0.2.1" not in read_response(connection).body.partition(b'"headers"')[0]
        server.wait_for_log(LINE.format("127.0.0.1"))
        assert server.log.count("X-Forwarded headers") == 1


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Server(APP, listen=("--uds", path)) as server:
        server.wait_for_ready(1)
        client = Client(uds=path)
        for _ in range(2):
            assert client.ask("GET", "/scope", headers={"X-Forwarded-Proto": "https"}).status == 200
        client.close()
        server.wait_for_log(LINE.format("unix:"))
        assert server.log.count("X-Forwarded headers") == 1


@pytest.mark.parametrize("option", ["--no-proxy-headers", "--forwarded-allow-ips=127.0.0.1"])
def test_nothing_is_said_where_nothing_is_wrong(option: str) -> None:
    with Server(APP, option) as server:
        for headers in ((HEADERS["x-forwarded-for"],), ()):
            with raw_connection(server.port) as connection:
                send_request(connection, "/scope", *headers)
                assert read_response(connection).status == 200
        assert server.stop() == 0
        assert "X-Forwarded headers" not in server.log


def test_strangers_fill_neither_log_nor_memory(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("tricorn"), "propagate", True)
    proxies = Proxies(Trusted("10.0.0.1"))
    with caplog.at_level(logging.WARNING, logger="tricorn.error"):
        for number in range(10_000):
            proxies.ignore((f"2001:db8::{number:x}", 4711))
            proxies.ignore(("2001:db8::1", 4711))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(set(lines)) == MAX_NAMED + 1
    assert lines[-1] == f"X-Forwarded headers of more than {MAX_NAMED} peers are ignored; further peers are not logged"
