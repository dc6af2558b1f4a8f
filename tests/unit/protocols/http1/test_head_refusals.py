"""No answer of the server's own has content when the request is a HEAD (RFC 9110 section 9.3.2), nor lacks it otherwise."""

from __future__ import annotations

import pytest
from support.play import answer, body, run, sends, start
from support.websocket_wire import Peer
from support.websocket_wire import request as handshake
from support.wire import CODECS, Wire, echo
from tricorn.protocols.limits import Limits
from tricorn.worker.readiness import Readiness

LIMITS = Limits(body=10)
REFUSED = {
    "malformed field": (b" / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    "malformed, unfinished": (b" / HTTP/1.1\r\nHost: a\r\nX\0", 400),
    "behind an empty line": (b" / HTTP/1.1\r\n\r\n", 400),
    "no Host": (b" / HTTP/1.1\r\n\r\n", 400),
    "body too large": (b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413),
    "chunks too large": (b" / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n", 413),
    "malformed chunk": (b" / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    "long request line": (b" /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "expectation": (b" / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
    "long field": (b" / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 17_000 + b"\r\n\r\n", 431),
    "coding": (b" / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "version": (b" / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
}
METHODS = [b"HEAD", b"POST"]


def check(wire: Wire, method: bytes, status: int) -> None:
    """One answer, with content only if ``method`` is not HEAD."""
    head, _, content = wire.output.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (content == b"") is (method == b"HEAD"), content


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_a_client_does_wrong(name: str, method: bytes, codec: str) -> None:
    rest, status = REFUSED[name]
    before = b"\r\n" if "empty line" in name else b""

    @run
    async def play() -> None:
        check(await answer(echo, before + method + rest, codec=codec, limits=LIMITS), method, status)


@pytest.mark.parametrize("method", METHODS)
def test_a_head_and_a_body_that_take_too_long(method: bytes) -> None:
    @run
    async def play() -> None:
        for rest in (b" / HTTP/1.1\r\nHost", b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc"):
            wire = await answer(echo, method + rest)
            wire.pass_seconds(1000)
            check(wire, method, 408)


@pytest.mark.parametrize("line", [b"", b"X-Unknown:\x20\t\r\nTE: trailers\r\n"], ids=["fast", "slow"])
@pytest.mark.parametrize("method", METHODS)
def test_a_connection_that_is_refused_whatever_it_asks(method: bytes, line: bytes) -> None:
    @run
    async def play() -> None:
        data = method + b" / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n"
        first = Wire(echo, limits=Limits(concurrency=1))
        second = Wire(service=first.service)
        await second.feed(data)
        check(second, method, 503)
        third = Wire(echo, misses_tls=True)
        await third.feed(data)
        check(third, method, 400)


@pytest.mark.parametrize("method", METHODS)
def test_a_handshake_that_is_none(method: bytes) -> None:
    @run
    async def play() -> None:
        peer = Peer(echo)
        await peer.feed(handshake(method=method.decode()))
        await peer.settle()
        check(peer, method, 405)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
def test_whether_the_worker_is_ready(is_ready: bool, status: int, method: bytes) -> None:
    @run
    async def play() -> None:
        app = Readiness(sends(start(), body()), "/ready", lambda: is_ready)  # type: ignore[arg-type]
        check(await answer(app, method + b" /ready HTTP/1.1\r\nHost: a\r\n\r\n"), method, status)  # type: ignore[arg-type]
