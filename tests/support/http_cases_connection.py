"""Rows: keep-alive, pipelining, upgrades, limits, and responses without a body."""

from __future__ import annotations

from support.http_cases import Row, answered, chunked, post, refused, request

GET = request()
OLD = "GET / HTTP/1.0"

PERSISTENCE = [
    answered("1.1 persists", "9.3", GET + GET, "GET /", "GET /"),
    answered("close", "9.3", request("Connection: close"), "GET /", closed=True),
    answered("close in upper case", "9.3, RFC 9110 7.6.1", request("Connection: CLOSE"), "GET /", closed=True),
    answered("close in a list", "RFC 9110 7.6.1", request("Connection: x, close"), "GET /", closed=True),
    answered("close in a second line", "RFC 9110 7.6.1", request("Connection: x", "Connection: close"), "GET /", closed=True),
    answered("close beats keep-alive", "9.3", request("Connection: keep-alive, close"), "GET /", closed=True),
    answered("empty list items", "RFC 9110 5.6.1", request("Connection: ,, close ,"), "GET /", closed=True),
    answered("close within a word is none", "RFC 9110 7.6.1", request("Connection: closed"), "GET /"),
    answered("keep-alive", "9.3", request("Connection: keep-alive"), "GET /"),
    answered("unknown option", "RFC 9110 7.6.1", request("Connection: x"), "GET /"),
    answered("naming another header", "RFC 9110 7.6.1", request("X: a", "Connection: X"), "GET /"),
    answered("1.0 with keep-alive", "9.3", request("Connection: keep-alive", start=OLD), "GET /"),
    answered("1.0 with Keep-Alive", "9.3", request("Connection: Keep-Alive", start=OLD), "GET /"),
    answered("1.0 with both", "9.3", request("Connection: keep-alive, close", start=OLD), "GET /", closed=True),
    answered("1.0 with something else", "9.3", request("Connection: x", start=OLD), "GET /", closed=True),
    answered(
        "Proxy-Connection says nothing", "C.2.2", request("Proxy-Connection: keep-alive", start=OLD), "GET /", closed=True
    ),
    answered("Keep-Alive says nothing", "C.2.2", request("Keep-Alive: timeout=5", start=OLD), "GET /", closed=True),
]

PIPELINING = [
    answered(
        "three", "9.3.2", GET + request(start="GET /2 HTTP/1.1") + request(start="GET /3 HTTP/1.1"), "GET /", "GET /2", "GET /3"
    ),
    answered("body, then a request", "9.3.2", post("Content-Length: 5", body=b"hello") + GET, "POST / hello", "GET /"),
    answered("chunks, then a request", "9.3.2", chunked(b"2\r\nhi\r\n0\r\n\r\n") + GET, "POST / hi", "GET /"),
    answered("chunks with trailers, then a request", "9.3.2", chunked(b"0\r\nX: a\r\n\r\n") + GET, "POST /", "GET /"),
    answered("HEAD, then a request", "9.3.2", request(start="HEAD / HTTP/1.1") + GET, "HEAD /", "GET /"),
    answered("empty line between", "2.2", post("Content-Length: 2", body=b"hi") + b"\r\n" + GET, "POST / hi", "GET /"),
    answered("nothing behind a close", "9.6", request("Connection: close") + GET, "GET /", closed=True),
    answered("nothing behind a 1.0", "9.3", request(start=OLD) + GET, "GET /", closed=True),
    answered("nothing malformed behind a close", "9.6", request("Connection: close") + b"\0\0\r\n\r\n", "GET /", closed=True),
    answered("twenty", "9.3.2", GET * 20, *["GET /"] * 20),
    refused("two empty lines between", "2.2", GET + b"\r\n\r\n" + GET, after=("GET /",)),
    refused("malformed behind", "9.3.2", GET + b"GET / HTTP/1.1\r\n\r\n", after=("GET /",)),
    refused(
        "body longer than its length", "6.2", post("Content-Length: 5", body=b"hello" + b"!!\r\n\r\n"), after=("POST / hello",)
    ),
    refused("body without a length", "6.3", post(body=b"hello\r\n\r\n"), after=("POST /",)),
    refused("length zero and a body", "6.2", post("Content-Length: 0", body=b"X") + GET + GET[3:], after=("POST /", "XGET /")),
    refused("refused between two", "9.3.2", GET + request(host=b"") + GET, after=("GET /",)),
]

SOCKET = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
UPGRADE = [
    answered("to something unknown is ignored", "RFC 9110 7.8", request("Connection: Upgrade", "Upgrade: x/1"), "GET /"),
    answered("without Connection is ignored", "RFC 9110 7.8", request(*SOCKET), "GET /"),
    answered("in 1.0 is ignored", "RFC 9110 7.8", request("Connection: Upgrade", *SOCKET, start=OLD), "GET /", closed=True),
    answered(
        "with a body is ignored",
        "RFC 9110 7.8",
        post("Connection: Upgrade", *SOCKET, "Content-Length: 2", body=b"hi"),
        "POST / hi",
    ),
    answered("by POST is ignored", "RFC 6455 4.1", post("Connection: Upgrade", "Upgrade: x"), "POST /"),
    answered(
        "to h2c is ignored",
        "RFC 9113 3.1",
        request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
        "GET /",
    ),
]

LINE = 16 * 1024
LIMITS = [
    answered(
        "target of 10 KB",
        "3: at least 8000 octets of request line",
        request(start=f"GET /{'a' * 9999} HTTP/1.1"),
        f"GET /{'a' * 9999}",
    ),
    answered("longest request line", "3", request(start=f"GET /{'a' * (LINE - 14)} HTTP/1.1"), f"GET /{'a' * (LINE - 14)}"),
    refused("one byte more", "3", request(start=f"GET /{'a' * (LINE - 13)} HTTP/1.1"), 414),
    refused("target of 100 KB", "3", request(start=f"GET /{'a' * 100_000} HTTP/1.1"), 414),
    refused("target without end", "3", b"GET /" + b"a" * 17_000, 414),
    refused("method of 100 KB", "3", request(start=f"{'A' * 100_000} / HTTP/1.1")),
    refused("method without end", "3", b"A" * 17_000),
    answered("longest header", "RFC 6585 5", request("X: " + "a" * (LINE - 5)), "GET /"),
    refused("one byte more in a header", "RFC 6585 5", request("X: " + "a" * (LINE - 4)), 431),
    refused("header of 100 KB", "RFC 6585 5", request("X: " + "a" * 100_000), 431),
    refused("long header in 1.0", "RFC 6585 5", b"GET / HTTP/1.0\r\nX: " + b"y" * (LINE - 4) + b"\r\n\r\n", 431),
    refused("header name of 100 KB", "RFC 6585 5", request("A" * 100_000 + ": a"), 431),
    refused("header without end", "RFC 6585 5", b"GET / HTTP/1.1\r\nX: " + b"a" * 17_000, 431),
    refused("cookie of 64 KB", "RFC 6585 5", request("Cookie: a=" + "b" * 65536), 431),
    answered("cookie of 9 KB", "RFC 6585 5", request("Cookie: a=" + "b" * 9000), "GET /"),
    answered("120 headers", "RFC 6585 5", request(*(f"X-{n}: a" for n in range(119))), "GET /"),
    answered("200 headers", "RFC 6585 5", request(*(f"X-{n}: a" for n in range(199))), "GET /"),
    refused("201 headers", "RFC 6585 5", request(*(f"X-{n}: a" for n in range(200))), 431),
    refused("202 short headers", "RFC 6585 5", request(*("a:" for _ in range(201))), 431),
    answered("head of 60 KB", "RFC 6585 5", request(*(f"X-{n}: {'a' * 15_000}" for n in range(4))), "GET /"),
    refused("10,000 headers", "RFC 6585 5", request(*(f"X-H-{n}: value" for n in range(10_000))), 431),
    refused("head of 70 KB", "RFC 6585 5", request(*(f"X-{n}: {'a' * 7000}" for n in range(10))), 431),
]

BODILESS: list[Row] = [
    answered(
        "204, then a request",
        "RFC 9110 15.3.5",
        request(start="GET /status/204 HTTP/1.1") + GET,
        "GET /status/204",
        "GET /",
        statuses=(204, 200),
    ),
    answered(
        "304, then a request",
        "RFC 9110 15.4.5",
        request(start="GET /status/304 HTTP/1.1") + GET,
        "GET /status/304",
        "GET /",
        statuses=(304, 200),
    ),
    answered(
        "205, then a request",
        "RFC 9110 15.3.6",
        request(start="GET /status/205 HTTP/1.1") + GET,
        "GET /status/205",
        "GET /",
        statuses=(205, 200),
    ),
    answered(
        "HEAD of a 404, then a request",
        "RFC 9110 9.3.2",
        request(start="HEAD /status/404 HTTP/1.1") + GET,
        "HEAD /status/404",
        "GET /",
        statuses=(404, 200),
    ),
    answered("204 in 1.0", "6.3", request(start="GET /status/204 HTTP/1.0"), "GET /status/204", closed=True, statuses=(204,)),
    answered("stream in 1.0", "6.3", request(start="GET /stream HTTP/1.0"), "GET /stream", closed=True),
    answered(
        "stream in 1.0 with keep-alive",
        "6.3",
        request("Connection: keep-alive", start="GET /stream HTTP/1.0"),
        "GET /stream",
        closed=True,
    ),
    answered("stream, then a request", "7.1", request(start="GET /stream HTTP/1.1") + GET, "GET /stream", "GET /"),
    answered(
        "HEAD of a stream, then a request",
        "RFC 9110 9.3.2",
        request(start="HEAD /stream HTTP/1.1") + GET,
        "HEAD /stream",
        "GET /",
    ),
]

ROWS = [*PERSISTENCE, *PIPELINING, *UPGRADE, *LIMITS, *BODILESS]
