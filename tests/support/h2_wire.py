"""An HTTP/2 connection without sockets: a real Http2Connection on a real event loop, and the package ``h2`` as its client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.h2_raw import read_frames
from support.wire import CODECS, App, FakeTransport, Seen, Wire, echo, turn
from tricorn.protocols.context import Service
from tricorn.protocols.facts import read_facts
from tricorn.protocols.http1.shared import Http1
from tricorn.protocols.http2 import frames
from tricorn.protocols.http2.connection import make_http2
from tricorn.protocols.limits import Limits
from tricorn.protocols.scope import connection_scope

h2: Any = pytest.importorskip("h2")
for module in ("h2.config", "h2.connection", "h2.events", "h2.settings", "h2.errors", "h2.exceptions"):
    pytest.importorskip(module)


@dataclass
class Answer:
    """One response as the client reads it."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    """The error code, if the stream was reset."""

    def __getitem__(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known == name.encode("ascii")]
        assert len(values) < 2, f"{name} comes twice: {values}"
        return values[0].decode("latin-1") if values else None


class H2Wire(Wire):
    """As Wire, but HTTP/2; what comes out is read by ``h2``, which complains of whatever it finds wrong."""

    def __init__(
        self,
        app: App = echo,
        *,
        limits: Limits | None = None,
        service: Service | None = None,
        extra: dict[str, Any] | None = None,
        begin: bool = True,
        **options: Any,
    ) -> None:
        """``begin``: send preface and SETTINGS now."""
        self.loop = asyncio.get_running_loop()
        self.seen: list[Seen] = []
        if service is None:
            service = Service(self._watch(app), self.loop, limits=limits, **options)  # type: ignore[arg-type]
        self.service = service
        self.http1 = Http1(service, *CODECS["auto"])
        self.transport = FakeTransport(self.loop, extra)
        self.connection: Any = make_http2(service)(self.transport, *connection_scope(service, read_facts(self.transport)), None)
        self.transport.protocol = self.connection
        self.client = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        """Last stream and error code of each."""
        self.events: list[Any] = []
        self._read = 0
        self.acknowledges = True
        """The client gives credit back for what it gets."""
        self.connection.connection_made(self.transport)
        if begin:
            self.client.initiate_connection()

    def ask(
        self,
        *headers: tuple[str, str],
        method: str = "GET",
        path: str = "/",
        body: bytes | None = None,
        end: bool = True,
        authority: str = "a",
    ) -> int:
        """Have the client make a request; returns its stream. It leaves with :meth:`exchange`."""
        stream: int = self.client.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority)]
        self.client.send_headers(stream, [*pseudo, *headers], end_stream=end and body is None)
        if body is not None:
            for at in range(0, len(body), 16384):
                self.client.send_data(stream, body[at : at + 16384])
            if end:
                self.client.end_stream(stream)
        return stream

    async def exchange(self, rounds: int = 10) -> None:
        """Carry bytes to and fro until both sides have nothing to say."""
        for _ in range(rounds):
            data = self.client.data_to_send()
            if data:
                await self.feed(data)
            await self.settle()
            if not self.listen() and not data:
                return

    def listen(self) -> bool:
        """Let the client read what was written; returns whether there was something."""
        writes = self.transport.writes[self._read :]
        self._read += len(writes)
        for frame in read_frames(b"".join(writes)):
            if frame.kind == frames.GOAWAY:
                # The package would take nothing from then on.
                self.goaways.append((int.from_bytes(frame.payload[:4], "big"), frame.code))
                continue
            for event in self.client.receive_data(frames.frame(frame.kind, frame.flags, frame.stream, frame.payload)):
                self._note(event)
        return bool(writes)

    def _note(self, event: Any) -> None:
        self.events.append(event)
        stream = getattr(event, "stream_id", None)
        events = h2.events
        if not stream:
            return
        answer = self.answers.setdefault(stream, Answer())
        if isinstance(event, events.ResponseReceived):
            fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            answer.status, answer.headers = int(fields[0][1]), fields[1:]
        elif isinstance(event, events.InformationalResponseReceived):
            answer.interim.append([(bytes(name), bytes(value)) for name, value in event.headers])
        elif isinstance(event, events.DataReceived):
            answer.body += event.data
            if self.acknowledges and event.flow_controlled_length:
                self.client.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, events.TrailersReceived):
            answer.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, events.StreamEnded):
            answer.ended = True
        elif isinstance(event, events.StreamReset):
            answer.reset = int(event.error_code)


async def get(app: App, *headers: tuple[str, str], **options: Any) -> tuple[Answer, H2Wire]:
    """One request on a connection of its own."""
    wire = H2Wire(app, **{name: options.pop(name) for name in ("limits", "access", "websocket", "proxies") if name in options})
    stream = wire.ask(*headers, **options)
    await wire.exchange()
    return wire.answers.get(stream, Answer()), wire


__all__ = ["Answer", "H2Wire", "get", "turn"]
