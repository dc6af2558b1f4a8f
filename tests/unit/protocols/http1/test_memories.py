"""What is remembered of heads, for all connections of a worker, is bounded and holds nobody's secrets."""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from support.play import run
from support.wire import CODECS, Receive, Send, Wire

SECRET = "hunter2"
REQUESTS = [
    *(f"{name}: {SECRET}{{}}" for name in ("X-Api-Key", "x-auth-token", "X-CSRFToken", "Cookie", "COOKIE", "Authorization")),
    *(f"{name}: {SECRET}{{}}" for name in ("Proxy-Authorization", "If-None-Match", "Range", "Traceparent", "X-Unheard-Of")),
    *(f"{name}: {SECRET}" for name in ("X-Api-Key", "Cookie", "authorization", "If-Modified-Since", "X-Real-IP")),
    f"Referer: https://example.org/?token={SECRET}{{}}",
    f"Referer: https://example.org/{SECRET}\r\nDNT: 1\r\nCookie: a={SECRET}",
    f"X-Forwarded-Proto: https\r\nX-Request-Id: {SECRET}{{}}",
    "User-Agent: short",
    f"User-Agent: {'long' * 60}\r\nX-Api-Key: {SECRET}{{}}",
]
RESPONSES = [
    *((name, f"{SECRET}{{}}") for name in ("set-cookie", "Location", "etag", "x-request-id", "Link", "x-unheard-of")),
    *((name, SECRET) for name in ("set-cookie", "location", "ETag", "last-modified", "www-authenticate", "content-location")),
    ("content-security-policy", f"script-src 'nonce-{SECRET}{{}}'"),
    ("content-disposition", f"attachment; filename={SECRET}"),
    ("cache-control", "no-store"),
]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answers with as many of the headers as the query says, and as a list or a tuple, whole or in pieces."""
    number = int(scope["query_string"].partition(b"=")[2] or 0)
    name, value = RESPONSES[number % len(RESPONSES)]
    headers = [(b"content-type", b"text/plain"), (name.encode(), value.format(number).encode()), (b"vary", b"Accept")]
    status = 302 if name == "location" else 200
    await send({"type": "http.response.start", "status": status, "headers": headers if number % 2 else tuple(headers)})
    await send({"type": "http.response.body", "body": b"a", "more_body": number % 5 == 0})
    if number % 5 == 0:
        await send({"type": "http.response.body"})


def reachable(*roots: Any) -> Iterator[Any]:
    """All that our modules hold, and ``roots``, as far as our own classes and functions and plain containers lead."""
    modules = [module for name, module in sys.modules.items() if name.startswith("tricorn.protocols")]
    waiting: deque[Any] = deque([*map(vars, modules), *roots])
    seen: dict[int, Any] = {}
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        yield one
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset, deque)):
            waiting += one
        elif isinstance(one, types.MethodType):
            waiting += [one.__self__, one.__func__]
        elif isinstance(one, types.FunctionType):
            if one.__module__.startswith("tricorn"):
                waiting += [*(one.__defaults__ or ()), *(cell.cell_contents for cell in one.__closure__ or ())]
        elif str(getattr(one, "__module__", type(one).__module__)).startswith("tricorn"):
            kinds = one.__mro__ if isinstance(one, type) else type(one).__mro__
            names = [name for kind in kinds for name in getattr(kind, "__slots__", ())]
            waiting += [getattr(one, name) for name in names if hasattr(one, name)]
            waiting += dict(getattr(one, "__dict__", {})).values()


def has_secret(one: Any) -> bool:
    return SECRET in one if isinstance(one, str) else SECRET.encode() in one if isinstance(one, (bytes, bytearray)) else False


@pytest.mark.parametrize("codec", CODECS)
def test_no_secret_of_a_connection_outlives_it(codec: str) -> None:
    @run
    async def play() -> None:
        first = Wire(app, codec, state={"a": 1})
        others = [Wire(codec=codec, service=first.service) for _ in range(4)]
        for wire in (first, *others, first):
            for number, line in enumerate(REQUESTS * 4):
                for path in (f"/?number={number}", f"/reset/{SECRET}?number={number}", "/", f"/reset/{SECRET}"):
                    head = f"GET {path} HTTP/1.1\r\nHost: a\r\n{line.format(number)}\r\nAccept: */*\r\n\r\n"
                    await wire.feed(head.encode())
        # What is reachable is what is looked at: while a connection is open, its last head is there.
        assert codec != "auto" or any(map(has_secret, reachable(first.service)))
        for wire in (first, *others):
            assert len(wire.responses()) > 100
            wire.transport.lose()
            await wire.settle()
        found = [*reachable(first.service)]
        assert len(found) > 1000
        assert not [one for one in found if has_secret(one)]


def entries(*roots: Any) -> list[int]:
    """How large the dictionaries are that grow."""
    return [len(one) for one in reachable(*roots) if isinstance(one, dict)]


def test_what_is_remembered_is_bounded() -> None:
    @run
    async def play() -> None:
        for kind in ("User-Agent: {}", "X-{}: a", "Cookie: {}", "X-{}: a\r\nUser-Agent: {}", "Content-Length: 0{}"):
            wire = Wire(codec="auto")
            most = max(entries(wire.service))
            for number in range(2_500):
                line = kind.format(number, number)
                wire.connection.data_received(f"GET /{number} HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n".encode())
                if wire.transport.closing:
                    break
            assert max(entries(wire.service)) <= max(most, 2_048)


def test_identifiers_of_requests_do_not_fill_the_memory_of_responses() -> None:
    @run
    async def play() -> None:
        identifiers = iter(range(10_000))

        async def identified(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            headers = [(b"x-request-id", b"%d" % next(identifiers)), (b"set-cookie", b"a=%d" % next(identifiers))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"a"})

        wire = Wire(identified)
        for _ in range(10):
            await wire.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        before = sum(entries(wire.service))
        for _ in range(500):
            await wire.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(wire.responses()) == 510
        assert [answer["set-cookie"] for answer in wire.responses()][-1] == "a=1019"
        assert sum(entries(wire.service)) <= before
