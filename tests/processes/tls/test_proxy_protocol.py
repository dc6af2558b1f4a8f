"""The PROXY protocol: the header by tables and in every split, then from peers that are trusted and others that are not."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.harness import Server, raw_connection, read_response, send_request, wait_until
from tricorn.protocols.proxy.crc32c import crc32c
from tricorn.protocols.proxy.headers import Origin
from tricorn.protocols.proxy.protocol import LONGEST, SIGNATURE, HeaderReader, ProxyError

REST = b"GET / HTTP/1.1\r\n\r\nPROXY TCP4"
V4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
V6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"
ORIGIN4 = Origin(("192.0.2.7", 4711), ("198.51.100.1", 443))
ORIGIN6 = Origin(("2001:db8::7", 4711), ("2001:db8::1", 443))


def binary(rest: bytes, command: int = 0x21, family: int = 0x11, size: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if size is None else size) + rest


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def summed(before: bytes, after: bytes = b"", change: int = 0) -> bytes:
    """A binary header with a checksum between the two, off by ``change``."""
    plain = binary(before + tlv(0x03, bytes(4)) + after)
    at = len(plain) - len(after) - 4
    return plain[:at] + (crc32c(plain) ^ change).to_bytes(4, "big") + plain[at + 4 :]


IPV4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 443)
IPV6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 4711, 443)
)
TLS = tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3"))

GOOD: dict[str, tuple[bytes, Origin | None]] = {
    "line, IPv4": (V4, ORIGIN4),
    "line, IPv6": (V6, ORIGIN6),
    "line, unknown": (b"PROXY UNKNOWN\r\n", None),
    "line, unknown, more": (b"PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n", None),
    "line, longest": (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
    "line, port 0": (b"PROXY TCP4 192.0.2.7 198.51.100.1 0 65535\r\n", Origin(("192.0.2.7", 0), ("198.51.100.1", 65535))),
    "binary, IPv4": (binary(IPV4), ORIGIN4),
    "binary, IPv6": (binary(IPV6, family=0x21), ORIGIN6),
    "binary, UNIX": (binary(b"\0" * 216, family=0x31), Origin(None, None)),
    "binary, local": (binary(b"", command=0x20, family=0), None),
    "binary, local, more": (binary(b"whatever", command=0x20, family=0x99), None),
    "binary, unspecified": (binary(b"abc", family=0), None),
    "binary, additions": (binary(IPV4 + tlv(0x04, b"\0" * 9) + tlv(0xEA, b"vpc")), ORIGIN4),
    "binary, TLS": (binary(IPV4 + TLS), Origin(("192.0.2.7", 4711), ("198.51.100.1", 443), secure=True)),
    "binary, no TLS": (binary(IPV4 + tlv(0x20, b"\0\0\0\0\0")), ORIGIN4),
    "binary, checksum": (summed(IPV4), ORIGIN4),
    "binary, checksum amid additions": (
        summed(IPV4 + TLS, tlv(0xEA, b"vpc")),
        Origin(("192.0.2.7", 4711), ("198.51.100.1", 443), secure=True),
    ),
    "binary, longest": (binary(IPV4 + tlv(0x04, b"\0" * (LONGEST - 16 - 12 - 3))), ORIGIN4),
}
BAD: dict[str, bytes] = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "nothing but zeros": b"\0" * 16,
    "empty line first": b"\r\nPROXY UNKNOWN\r\n",
    "line in lower case": V4.lower(),
    "line without family": b"PROXY\r\n",
    "line with UDP": V4.replace(b"TCP4", b"UDP4"),
    "line of the other family": V4.replace(b"TCP4", b"TCP6"),
    "line of the other family, 6": V6.replace(b"TCP6", b"TCP4"),
    "line with two spaces": V4.replace(b" 4711", b"  4711"),
    "line with a tab": V4.replace(b" 4711", b"\t4711"),
    "line with space at its end": V4.replace(b"\r\n", b" \r\n"),
    "line with too much": V4.replace(b"\r\n", b" 1\r\n"),
    "line with too little": V4.replace(b" 443", b""),
    "line with a port too high": V4.replace(b"4711", b"65536"),
    "line with a zero before": V4.replace(b"4711", b"04711"),
    "line with a sign": V4.replace(b"4711", b"+4711"),
    "line with a name": V4.replace(b"192.0.2.7", b"localhost"),
    "line with a wrong address": V4.replace(b"192.0.2.7", b"192.0.2.777"),
    "line with brackets": V6.replace(b"2001:db8::7", b"[2001:db8::7]"),
    "line without carriage return": V4.replace(b"\r\n", b"\n") + b" " * 107,
    "line without end": b"PROXY UNKNOWN " + b"x" * 107,
    "line too long by one": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "signature wrong at its end": SIGNATURE[:-1] + b"x" + bytes(4),
    "version 1 in binary": binary(IPV4, command=0x11),
    "version 3": binary(IPV4, command=0x31),
    "unknown command": binary(IPV4, command=0x22),
    "datagrams": binary(IPV4, family=0x12),
    "unknown family": binary(IPV4, family=0x41),
    "addresses cut off": binary(IPV4[:-1]),
    "IPv6 with IPv4's addresses": binary(IPV4, family=0x21),
    "UNIX cut off": binary(b"\0" * 215, family=0x31),
    "too long": binary(b"", size=LONGEST - 15),
    "as long as can be": binary(b"", size=65535),
    "addition cut off": binary(IPV4 + tlv(0x04, b"12345")[:-1]),
    "addition without length": binary(IPV4 + b"\x04\0"),
    "wrong checksum": summed(IPV4, change=1),
    "checksum of a header changed since": summed(IPV4, tlv(0xEA, b"vpc")).replace(b"vpc", b"vpd"),
    "checksum of three bytes": binary(IPV4 + tlv(0x03, b"abc")),
    "no checksum in its place": binary(IPV4 + tlv(0x03, b"")),
    "TLS addition cut off": binary(IPV4 + tlv(0x20, b"\x01\0\0")),
}


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_the_checksum_is_crc32c(data: bytes, value: int) -> None:
    """The examples of RFC 3720 appendix B.4, and the usual one."""
    assert crc32c(data) == value


def read(pieces: list[bytes]) -> tuple[Origin | None, bytes]:
    """What a reader makes of the pieces, and what it left; each piece is offered until it is taken, as by a socket."""
    reader, left = HeaderReader(), b""
    for piece in pieces:
        taken = 0 if reader.complete else reader.feed(piece)
        assert 0 <= taken <= len(piece)
        assert reader.complete or taken == len(piece), "what is not taken would be offered again for ever"
        left += piece[taken:]
    assert reader.complete
    return reader.origin, left


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("size", [1, 2, 7, 13, 1 << 20])
def test_a_right_header_in_any_split(name: str, size: int) -> None:
    header, origin = GOOD[name]
    assert read(cut(header + REST, size)) == (origin, REST)


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_wrong_header(name: str, size: int) -> None:
    with pytest.raises(ProxyError):
        read(cut(BAD[name] + bytes(LONGEST), size))


@pytest.mark.parametrize("name", ["HTTP", "TLS", "line in lower case", "too long", "nothing but zeros"])
def test_what_can_not_become_right_is_refused_at_once(name: str) -> None:
    with pytest.raises(ProxyError):
        HeaderReader().feed(BAD[name][:16])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([header for header, _ in GOOD.values()]), st.data())
def test_a_mutated_header_is_read_or_refused(header: bytes, data: st.DataObject) -> None:
    mutated = bytearray(header)
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    outcomes = []
    for size in (1, len(mutated)):
        reader = HeaderReader()
        try:
            taken = sum(reader.feed(piece) for piece in cut(bytes(mutated), size) if not reader.complete)
            outcomes.append((reader.complete, reader.origin, taken))
        except ProxyError:
            outcomes.append((False, None, -1))
    assert outcomes[0] == outcomes[1]


# ------------------------------------------------------------------------------------------------ through a real server


def served(*arguments: str) -> Server:
    return Server("tests.apps.tells:app", "--proxy-protocol", *arguments)


def ask(connection: socket.socket, *headers: str) -> dict[str, Any]:
    send_request(connection, "/scope", *headers)
    told: dict[str, Any] = json.loads(read_response(connection).body)
    return told


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_client_server_and_scheme_come_from_the_header(loop: str) -> None:
    with served("--loop", loop) as server:
        with raw_connection(server.port) as connection:
            connection.sendall(GOOD["binary, TLS"][0])
            for _ in range(2):
                told = ask(connection)
                assert (told["client"], told["server"], told["scheme"]) == (["192.0.2.7", 4711], ["198.51.100.1", 443], "https")
            server.wait_for_log(r'192\.0\.2\.7:4711 - "GET /scope HTTP/1\.1" 200', count=2)
        with raw_connection(server.port) as connection:
            connection.sendall(GOOD["line, unknown"][0])
            told = ask(connection)
            assert (told["client"], told["scheme"]) == ([*connection.getsockname()], "http")
        with raw_connection(server.port) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in cut(V6, 1):
                connection.send(byte)
            assert ask(connection)["client"] == ["2001:db8::7", 4711]


def test_headers_are_believed_of_whom_the_header_names() -> None:
    """The proxy says who connects to it: that one is the peer, trusted or not."""
    with served("--forwarded-allow-ips", "127.0.0.1,192.0.2.0/24") as server:
        with raw_connection(server.port) as connection:
            connection.sendall(V4)
            assert ask(connection, "X-Forwarded-For: 1.2.3.4")["client"] == ["1.2.3.4", 0]
        with raw_connection(server.port) as connection:
            connection.sendall(V6)
            assert ask(connection, "X-Forwarded-For: 1.2.3.4")["client"] == ["2001:db8::7", 4711]


def read_to_end(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def test_an_untrusted_peer_speaks_http_or_nothing() -> None:
    with served("--forwarded-allow-ips", "10.0.0.1") as server:
        with raw_connection(server.port) as connection:
            assert ask(connection)["client"] == [*connection.getsockname()]
        with raw_connection(server.port) as connection:
            connection.sendall(V4)
            send_request(connection, "/scope")
            assert read_to_end(connection).startswith(b"HTTP/1.1 400 ")
        with raw_connection(server.port) as connection:
            connection.sendall(GOOD["binary, IPv4"][0])
            send_request(connection, "/scope")
            assert b"HTTP/1.1 200" not in read_to_end(connection)


def test_a_trusted_peer_without_a_header_is_closed_and_said_once() -> None:
    with served("--timeout-request-head", "0.5") as server:
        for data in (REST, BAD["version 3"], b"PROXY TC"):
            with raw_connection(server.port) as connection:
                connection.sendall(data)
                assert read_to_end(connection) == b""
        server.wait_for_log("--proxy-protocol: connection of a trusted peer closed: no PROXY header")
        assert server.log.count("trusted peer closed") == 1
        with raw_connection(server.port) as connection:
            connection.sendall(V4)
            assert ask(connection)["client"] == ["192.0.2.7", 4711]


def test_who_only_looks_whether_we_listen_is_not_mentioned() -> None:
    """Load balancers open and close a connection to see whether it can be."""
    with served() as server:
        for _ in range(20):
            with raw_connection(server.port):
                pass
        with raw_connection(server.port) as connection:
            connection.sendall(V4)
            ask(connection)
        assert "closed" not in server.log


def test_slow_headers_hold_up_nobody_and_no_stop() -> None:
    with served() as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for connection in slow:
            connection.sendall(V4[:9])
        with raw_connection(server.port) as connection:
            connection.sendall(V4)
            assert ask(connection)["client"] == ["192.0.2.7", 4711]
        # Well before the grace of thirty seconds.
        assert server.stop(timeout=15) == 0
        assert "killed" not in server.log
        wait_until(lambda: all(read_to_end(connection) == b"" for connection in slow))
        for connection in slow:
            connection.close()
