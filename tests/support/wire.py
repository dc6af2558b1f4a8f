"""A connection without sockets: feed bytes in any split to a real HttpConnection on a real event loop, see what comes out.

Deterministic: nothing here depends on time, and the loop's clock is moved only by the test (``Wire.pass_seconds``).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from tricorn.protocols.context import Service
from tricorn.protocols.facts import read_facts
from tricorn.protocols.http1 import fast, h11_codec, httptools_codec
from tricorn.protocols.http1.codec import Codec
from tricorn.protocols.http1.connection import HttpConnection
from tricorn.protocols.http1.response import ResponseHeads
from tricorn.protocols.http1.shared import Http1
from tricorn.protocols.limits import Limits
from tricorn.protocols.request import RequestHead

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]
Receive = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[Any]]

CODECS: dict[str, tuple[Codec, Callable[[], Callable[[bytes], RequestHead | None]] | None]] = {
    "auto": (h11_codec.parse, fast.HeadCache().lane),
    "h11": (h11_codec.parse, None),
    "httptools": (httptools_codec.parse, None),
}
QUIET = 8
"""Turns of the loop without any event after which nothing more is going to happen by itself."""


@dataclass
class Response:
    """One response as a client reads it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    whole: bool = True
    """Whether the body came to the end that the head promised."""

    def __getitem__(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known == name.encode("ascii")]
        assert len(values) < 2, f"{name} comes twice: {values}"
        return values[0].decode("latin-1") if values else None


@dataclass
class Seen:
    """One request as the application saw it."""

    scope: dict[str, Any]
    body: bytes = b""
    whole: bool = False
    """Whether the application was told of the body's end."""

    @property
    def line(self) -> str:
        target = self.scope["raw_path"] + (b"?" + self.scope["query_string"] if self.scope["query_string"] else b"")
        return f"{self.scope['method']} {target.decode('latin-1')} {self.body.decode('latin-1')}".rstrip()


class FakeSocket:
    """Only takes the option by which a connection is reset; the kernel knows nothing of it."""

    def __init__(self, transport: FakeTransport) -> None:
        self._transport = transport

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        self._transport.reset = (level, name) == (socket.SOL_SOCKET, socket.SO_LINGER)

    family = socket.AF_INET

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        raise OSError("no socket")

    def fileno(self) -> int:
        return -1


class FakeTransport(asyncio.Transport):
    """Keeps what is written; takes note of what a transport's user must not do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, extra: dict[str, Any] | None = None) -> None:
        super().__init__({"peername": ("192.0.2.7", 4711), "sockname": ("192.0.2.1", 8000)} | (extra or {}))
        self._loop = loop
        self.protocol: Any = None
        self.writes: list[bytes] = []
        self.gathered: list[bytes] = []
        self.wrong: list[str] = []
        self.closing = self.eof_written = self.paused = self.reset = self.lost = False
        self.high = 64 * 1024
        self.unsent = 0
        """Bytes that a client does not take; while there are some, a close is not complete."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return FakeSocket(self) if name == "socket" else super().get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol  # type: ignore[no-any-return]

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = 64 * 1024 if high is None else high

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.eof_written:
            self.wrong.append(f"write after write_eof: {bytes(data)!r}")
        elif self.closing:
            # Some event loops complain of it in the log.
            self.wrong.append(f"write after close: {bytes(data)!r}")
        else:
            assert data, "an empty write is a system call for nothing"
            self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.gathered += list_of_data
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.unsent:
                self._loop.call_soon(self.lose)

    def abort(self) -> None:
        self.closing = True
        self._loop.call_soon(self.lose)

    def lose(self, error: Exception | None = None) -> None:
        self.closing = True
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)

    def is_reading(self) -> bool:
        return not self.paused

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    @property
    def closed(self) -> bool:
        """Whether a client would see the end of the connection."""
        return self.closing or self.eof_written


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Read the whole body, send it back; 204 to OPTIONS."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": bytes(body)})


class Wire:
    """One connection to an application."""

    def __init__(
        self,
        app: App = echo,
        codec: str = "auto",
        *,
        limits: Limits | None = None,
        service: Service | None = None,
        heads: ResponseHeads | None = None,
        extra: dict[str, Any] | None = None,
        misses_tls: bool = False,
        **options: Any,
    ) -> None:
        """``options`` are Service's, ``extra`` is what the transport tells of itself, ``misses_tls`` is as in Facts.

        A ``service`` may be shared by several connections, ``heads`` by several services. Must be made on a running loop."""
        self.loop = asyncio.get_running_loop()
        self.seen: list[Seen] = []
        if service is None:
            service = Service(self._watch(app), self.loop, limits=limits, **options)  # type: ignore[arg-type]
        self.service = service
        self.http1 = Http1(service, *CODECS[codec])
        if heads is not None:
            self.http1.heads = heads
        self.transport = FakeTransport(self.loop, extra)
        self.connection = HttpConnection(self.http1, self.transport, read_facts(self.transport, misses_tls=misses_tls))
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def _watch(self, app: App) -> App:
        """The application, with what it receives written down."""

        async def watched(scope: dict[str, Any], receive: Receive, send: Send) -> Any:
            seen = Seen(scope)
            self.seen.append(seen)

            async def watched_receive() -> dict[str, Any]:
                message = await receive()
                if message["type"] == "http.request":
                    seen.body += message["body"]
                    seen.whole = not message["more_body"]
                return message

            return await app(scope, watched_receive, send)

        return watched

    async def feed(self, *pieces: bytes) -> None:
        """What the client sends, piece by piece, with a turn of the event loop after each; waits while reading is paused."""
        for piece in pieces:
            if self.transport.paused:
                await self.settle()
            assert not self.transport.paused, "the connection does not read on"
            if not self.transport.closing:
                self.transport.protocol.data_received(piece)
            await turn(self.loop)

    async def half_close(self) -> None:
        """The client sends no more but reads on."""
        if not self.transport.closing and not self.transport.protocol.eof_received():
            self.transport.close()
        await turn(self.loop)

    async def settle(self) -> None:
        """Until nothing happens any more."""
        before, quiet = None, 0
        while quiet < QUIET:
            state = (len(self.transport.writes), self.transport.closing, len(self.seen), self.transport.paused)
            quiet = quiet + 1 if state == before else 0
            before = state
            await turn(self.loop)

    def pass_seconds(self, seconds: float) -> None:
        """Let the service's clock run, as its tick would see it, and have it end what has passed its deadline."""
        self.service.advance(self.service.loop.time() + seconds)

    def pass_silence(self) -> None:
        """As long as a client that has closed its side may show no sign of life: its time begins with a tick."""
        for second in (1, 5):
            self.pass_seconds(second)

    @property
    def output(self) -> bytes:
        return b"".join(self.transport.writes)

    def responses(self) -> list[Response]:
        """What was written, as a client reads it. Asserts that it is well-formed and that nothing is left over."""
        methods = [seen.scope["method"] for seen in self.seen]
        return read_responses(self.output, methods, closed=self.transport.closed)


async def turn(loop: asyncio.AbstractEventLoop) -> None:
    """One turn of the event loop."""
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done


def read_responses(data: bytes, methods: Sequence[str], *, closed: bool) -> list[Response]:
    """Split a connection's output into responses (RFC 9112 section 6.3); ``methods`` are of the requests answered."""
    found: list[Response] = []
    finals = 0
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"response head without end: {head!r}"
        line, *lines = head.split(b"\r\n")
        version, code, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1", line
        fields = [(name, value.strip()) for name, _, value in (item.partition(b":") for item in lines)]
        response = Response(int(code), fields)
        found.append(response)
        if response.status < 200:
            continue
        method = methods[finals] if finals < len(methods) else None
        finals += 1
        data = _read_body(response, method, data, closed)
    return found


def _read_body(response: Response, method: str | None, data: bytes, closed: bool) -> bytes:
    """Fill in the response's body; returns what is behind it."""
    if method == "HEAD" or response.status in (204, 304):
        return data
    if response["transfer-encoding"] is not None:
        assert response["transfer-encoding"] == "chunked"
        assert response["content-length"] is None
        return _read_chunks(response, data)
    length = response["content-length"]
    if length is None:
        assert closed, "a body without Content-Length or chunks ends only with the connection"
        response.body = data
        return b""
    response.body, rest = data[: int(length)], data[int(length) :]
    response.whole = len(response.body) == int(length)
    return rest


def _read_chunks(response: Response, data: bytes) -> bytes:
    while True:
        size, end, data = data.partition(b"\r\n")
        if not end:
            response.whole = False
            return b""
        number = int(size, 16)
        if not number:
            while not data.startswith(b"\r\n"):
                line, end, data = data.partition(b"\r\n")
                if not end:
                    response.whole = False
                    return b""
                name, _, value = line.partition(b":")
                response.headers.append((name, value.strip()))
            return data[2:]
        response.body += data[:number]
        assert data[number : number + 2] == b"\r\n", f"chunk without end: {data[:99]!r}"
        data = data[number + 2 :]


@dataclass
class Outcome:
    """All that one conversation led to, comparable between codecs and splits."""

    statuses: list[int]
    closed: bool
    requests: list[str]
    """The requests that the application saw to their end: ``METHOD target body``."""
    bodies: list[bytes] = field(default_factory=list)


async def converse(pieces: Sequence[bytes], codec: str = "auto", app: App = echo, **options: Any) -> Outcome:
    """A whole conversation on a connection of its own."""
    wire = Wire(app, codec, **options)
    await wire.feed(*pieces)
    await wire.settle()
    assert not wire.transport.wrong, wire.transport.wrong
    answers = wire.responses()
    outcome = Outcome(
        [answer.status for answer in answers],
        wire.transport.closed,
        [seen.line for seen in wire.seen if seen.whole],
        [answer.body for answer in answers],
    )
    wire.transport.lose()
    await wire.settle()
    return outcome


def split_bytes(data: bytes) -> list[bytes]:
    """Byte by byte."""
    return [data[index : index + 1] for index in range(len(data))]
