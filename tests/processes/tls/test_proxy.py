"""Whom proxies are believed to speak for: the headers by tables, then as an application and the access log see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.harness import Client, Server, run_tricorn
from tricorn.protocols.proxy.headers import Proxies, Trusted, elements, parse_node
from websockets.sync.client import connect

LOCAL = "127.0.0.1,10.0.0.0/8,::1,unix:"

Told = tuple[tuple[str, int] | None, str | None]


def read(*headers: tuple[str, str], trusted: str = LOCAL) -> Told:
    """Client and scheme of a request with these headers by a trusted peer; None for what stays as it is."""
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope, name = Proxies(Trusted(trusted)).unveil({"client": None, "scheme": None}, fields, "peer")
    client = scope["client"]
    assert name == (f"{client[0]}:{client[1]}" if client else "peer")
    return client, scope["scheme"]


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("1.2.3.4", ("1.2.3.4", 0)),
        (" 1.2.3.4 ", ("1.2.3.4", 0)),
        ("1.2.3.4:4711", ("1.2.3.4", 4711)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        # The right-most that isn't trusted; what stands left of it may be made up.
        ("6.6.6.6, 1.2.3.4", ("1.2.3.4", 0)),
        ("6.6.6.6, 1.2.3.4, 10.1.2.3", ("1.2.3.4", 0)),
        ("6.6.6.6, 1.2.3.4, unix:, 127.0.0.1", ("1.2.3.4", 0)),
        ("6.6.6.6, 10.0.0.9:99", ("6.6.6.6", 0)),
        # A trusted proxy's own request.
        ("10.0.0.1, 10.0.0.2", ("10.0.0.1", 0)),
        # IPv4 in IPv6 is the same host.
        ("1.2.3.4, ::ffff:10.0.0.1", ("1.2.3.4", 0)),
        ("unknown", ("unknown", 0)),
        ("_hidden", ("_hidden", 0)),
        # Malformed: nothing is known, or nothing beyond what the trusted ones said.
        ("", None),
        (",", None),
        ("garbage", None),
        ("1.2.3.4.5", None),
        ("1.2.3.400", None),
        ("1.2.3.4:99999", None),
        ("1.2.3.4:x", None),
        ("[2001:db8::1", None),
        ("[2001:db8::1]x", None),
        ("[1.2.3.4]", ("1.2.3.4", 0)),
        ("01.2.3.4", None),
        ("1.2.3.4, \xff\xfe", None),
        ("1.2.3.4, garbage, 10.0.0.1", ("10.0.0.1", 0)),
        ("x" * 8000, None),
    ],
)
def test_x_forwarded_for(value: str, client: tuple[str, int] | None) -> None:
    assert read(("X-Forwarded-For", value))[0] == client


def test_several_lines_are_one_list() -> None:
    assert read(("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "1.2.3.4, 10.0.0.1"))[0] == ("1.2.3.4", 0)


def test_whoever_trusts_everybody_takes_the_first() -> None:
    """As uvicorn: then no address tells who isn't a proxy."""
    assert read(("X-Forwarded-For", "1.2.3.4, \xf0\xfd, unix:, ::1"), trusted="*")[0] == ("1.2.3.4", 0)
    assert read(("X-Forwarded-For", "garbage, 1.2.3.4"), trusted="*")[0] is None
    assert read(("Forwarded", "for=1.2.3.4, for=5.6.7.8"), trusted="*")[0] == ("1.2.3.4", 0)


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("https", "https"), ("http", "http"), ("wss", "https"), ("ws", "http"), (" HTTPS ", "https"), ("https, https", "https")]
    + [("https, http", "http"), ("http,https", "https"), ("gopher, https", "https"), ("https, ,", "https")]
    + [(wrong, None) for wrong in ("", ",", "ftp", "https, ftp", "https\xff", "javascript:")],
)
def test_x_forwarded_proto(value: str, scheme: str | None) -> None:
    assert read(("X-Forwarded-Proto", value)) == (None, scheme)


def test_the_last_x_forwarded_proto_counts() -> None:
    assert read(("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https"))[1] == "https"
    assert read(("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "https, http"))[1] == "http"


@pytest.mark.parametrize(
    ("value", "client", "scheme"),
    [
        # The examples of RFC 7239 section 4.
        ('For="[2001:db8:cafe::17]:4711"', ("2001:db8:cafe::17", 4711), None),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", ("192.0.2.60", 0), "http"),
        ("for=192.0.2.43, for=198.51.100.17", ("198.51.100.17", 0), None),
        ('for="_gazonk"', ("_gazonk", 0), None),
        ('for=unknown;proto="https"', ("unknown", 0), "https"),
        ('for="1.2.3.4:4711"', ("1.2.3.4", 4711), None),
        ('for="1.2.3.4:_port"', None, None),
        ('for="[2001:db8::1]:_port"', ("2001:db8::1", 0), None),
        ('For="[2001:db8::1]" ; x=y', None, None),
        ("FOR=1.2.3.4;PROTO=HTTPS;host=example.org", ("1.2.3.4", 0), "https"),
        (";;for=1.2.3.4;;", ("1.2.3.4", 0), None),
        # Past the trusted; the scheme is that of the element which names the client.
        ("for=1.2.3.4;proto=https, for=10.0.0.1;proto=http", ("1.2.3.4", 0), "https"),
        ("for=6.6.6.6;proto=http,for=1.2.3.4;proto=https,,for=10.0.0.1", ("1.2.3.4", 0), "https"),
        ("for=6.6.6.6, proto=https", None, "https"),
        # What a client left open does not swallow what the proxies have added.
        ('for="6.6.6.6, for=1.2.3.4', ("1.2.3.4", 0), None),
        ('for=1.2.3.4;by="a, for=6.6.6.6"', ("1.2.3.4", 0), None),
        ('for=1.2.3.4;by="a, for=\\"6.6.6.6\\""', ("1.2.3.4", 0), None),
        # Malformed.
        ("1.2.3.4", None, None),
        ("for=2001:db8::1", None, None),
        ("for=1.2.3.4 proto=https", None, None),
        ("for = 1.2.3.4", None, None),
        ("for=1.2.3.4;for=6.6.6.6", None, None),
        ("for=1.2.3.4, garbage", None, None),
        ('for="1.2.3.4', None, None),
        ("for=1.2.3.4;proto=gopher", ("1.2.3.4", 0), None),
        ("for=1.2.3.4" + "," * 8000, None, None),
        ("", None, None),
    ],
)
def test_forwarded(value: str, client: tuple[str, int] | None, scheme: str | None) -> None:
    assert read(("Forwarded", value)) == (client, scheme)


def test_forwarded_does_not_count_beside_the_other_headers() -> None:
    """Most proxies know only those, and pass on what a client has made up of the other kind."""
    assert read(("Forwarded", "for=6.6.6.6;proto=https"), ("X-Forwarded-For", "1.2.3.4")) == (("1.2.3.4", 0), None)
    assert read(("Forwarded", "for=6.6.6.6;proto=https"), ("X-Forwarded-Proto", "http")) == (None, "http")


def test_many_elements_are_not_read_for_ever() -> None:
    assert len(list(elements(",".join(["for=10.0.0.1"] * 1000)))) <= 64


def test_a_node_is_no_longer_than_a_name() -> None:
    assert parse_node("_" + "x" * 252) is not None
    assert parse_node("_" + "x" * 253) is None


@pytest.mark.parametrize(
    ("text", "host", "trusted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("2001:DB8::1", "2001:db8:0::1", True),
        ("[::1]", "::1", True),
        ("192.168.0.0/16, 10.0.0.0/8", "192.168.7.1", True),
        ("192.168.0.0/16, 10.0.0.0/8", "10.9.9.9", True),
        ("192.168.0.0/16, 10.0.0.0/8", "11.9.9.9", False),
        ("2001:db8::/32", "2001:db8:1::1", True),
        ("2001:db8::/32", "10.0.0.1", False),
        ("*", "1.2.3.4", True),
        ("", "127.0.0.1", False),
        ("_gateway", "_gateway", True),
        ("localhost", "127.0.0.1", False),
        ("127.0.0.1", "x" * 1000, False),
    ],
)
def test_who_is_trusted(text: str, host: str, trusted: bool) -> None:
    assert (host in Trusted(text)) is trusted


@pytest.mark.parametrize(
    ("text", "path", "trusted"),
    [
        ("unix", "/run/app.sock", True),
        ("unix:", "", True),
        ("*", "/run/app.sock", True),
        ("/run/app.sock", "/run/app.sock", True),
        ("/run/app.sock", "/run/other.sock", False),
        ("127.0.0.1,::1", "/run/app.sock", False),
        ("", "", False),
    ],
)
def test_who_is_trusted_on_a_unix_socket(text: str, path: str, trusted: bool) -> None:
    assert Trusted(text).trusts_unix(path) is trusted


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.300", "::zz", "1.2.3", "10.0.0.0/33", "127.0.0.1:80"])
def test_what_only_looks_like_an_address_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="^" + text.split("/")[0]):
        Trusted(f"::1, {text}")


# --------------------------------------------------------------------------------------------- through a real server


def ask(server: Server, headers: dict[str, str], uds: str | None = None) -> dict[str, Any]:
    client = Client(getattr(server, "port", 0), uds)
    try:
        told: dict[str, Any] = json.loads(client.ask("GET", "/scope", headers=headers).body)
        return told
    finally:
        client.close()


HEADERS = {"X-Forwarded-For": "6.6.6.6, 1.2.3.4", "X-Forwarded-Proto": "https"}


def test_the_application_and_the_log_see_the_client() -> None:
    with Server("tests.apps.tells:app") as server:
        told = ask(server, HEADERS)
        assert (told["client"], told["scheme"]) == (["1.2.3.4", 0], "https")
        server.wait_for_log(r'1\.2\.3\.4:0 - "GET /scope HTTP/1\.1" 200')
        told = ask(server, {})
        assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")


def test_each_request_of_a_connection_has_its_own_client() -> None:
    """A proxy's connection carries many clients' requests."""
    with Server("tests.apps.tells:app") as server:
        proxy = Client(server.port)
        told = [
            json.loads(proxy.ask("GET", "/scope", headers=headers).body)["client"][0]
            for headers in ({"X-Forwarded-For": "1.1.1.1"}, {"X-Forwarded-For": "2.2.2.2"}, {}, {"Forwarded": "for=3.3.3.3"})
        ]
        proxy.close()
        assert told == ["1.1.1.1", "2.2.2.2", "127.0.0.1", "3.3.3.3"]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--no-proxy-headers"], {}),
        (["--forwarded-allow-ips", "10.0.0.0/8"], {}),
        ([], {"FORWARDED_ALLOW_IPS": "10.0.0.1"}),
    ],
)
def test_others_are_not_believed(arguments: list[str], environment: dict[str, str]) -> None:
    with Server("tests.apps.tells:app", *arguments, env=environment) as server:
        told = ask(server, HEADERS)
        assert (told["client"][0], told["scheme"]) == ("127.0.0.1", "http")


def test_a_websocket_is_told_of_its_client_too() -> None:
    with (
        Server("tests.apps.tells:app") as server,
        connect(f"ws://127.0.0.1:{server.port}/ws", additional_headers=HEADERS, proxy=None) as websocket,
    ):
        told = json.loads(websocket.recv())
        assert (told["client"], told["scheme"]) == (["1.2.3.4", 0], "wss")
        server.wait_for_log(r'1\.2\.3\.4:0 - "WebSocket /ws" \[accepted\]')


@pytest.mark.parametrize(("trusted", "client"), [("unix:", ["1.2.3.4", 0]), ("127.0.0.1", None), ("{path}", ["1.2.3.4", 0])])
def test_unix_socket_peers(trusted: str, client: list[object] | None, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    allowed = trusted.format(path=path)
    with Server("tests.apps.tells:app", "--forwarded-allow-ips", allowed, listen=("--uds", path)) as server:
        server.wait_for_ready(1)
        assert ask(server, HEADERS, uds=path)["client"] == client


def test_a_wrong_list_is_an_operators_error() -> None:
    ended = run_tricorn("tests.apps.tells:app", "--port", "0", "--forwarded-allow-ips", "10.0.0.1/8")
    assert ended.returncode == 2
    assert ended.stderr == "Error: --forwarded-allow-ips 10.0.0.1/8: 10.0.0.1/8 has host bits set\n"
