"""A server's end of TLS between a client's own and a transport without a socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from support.certificates import Authority
from support.play import run
from support.wire import FakeTransport
from tricorn.worker.tls_transport import TlsTransport

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Plain(FakeTransport):
    """It tells whether it reads, too."""

    def is_reading(self) -> bool:
        return not self.paused


class Above(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self, begin: Callable[[asyncio.Transport], None] = lambda transport: None) -> None:
        self._begin = begin
        self.transport: Any = None
        self.told: list[str] = []
        self.pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.told.append("made")
        self._begin(self.transport)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Talk:
    """A client and the transport."""

    def __init__(
        self, contexts: tuple[ssl.SSLContext, ssl.SSLContext], above: Above | None = None, step: int = 1 << 20
    ) -> None:
        """Bytes reach the server in pieces of ``step``."""
        server, client = contexts
        self.above = above or Above()
        self.failed: list[Exception | None] = []
        self.plain = Plain(asyncio.get_running_loop())
        self.server = TlsTransport(self.plain, server, self.above, self.failed.append)
        self.plain.set_protocol(self.server)
        self._step = step
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._incoming, self.outgoing, server_hostname="localhost")

    def deliver(self) -> None:
        """What the client has to say reaches the server, and the other way round."""
        while self.outgoing.pending:
            self.plain.protocol.data_received(self.outgoing.read(self._step))
        self._incoming.write(b"".join(self.plain.writes))
        self.plain.writes.clear()

    def shake_hands(self) -> None:
        while True:
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.deliver()
            else:
                break
        self.deliver()

    def read(self) -> bytes:
        """All that has come to the client; ends at the server's alert."""
        found = b""
        try:
            while data := self.client.read(1 << 20):
                found += data
        except ssl.SSLWantReadError:
            pass
        return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
def contexts(request: pytest.FixtureRequest, authority: Authority) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue())
    client = authority.client()
    client.maximum_version = request.param
    return server, client


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
def test_bytes_arrive_whole_in_any_split(contexts: Contexts, step: int) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts, step=step)
        talk.shake_hands()
        assert talk.above.told == ["made"]
        sent = b"".join(b"%d " % number for number in range(10_000))
        talk.client.write(sent)
        talk.deliver()
        assert b"".join(talk.above.pieces) == sent
        talk.server.write(b"answer")
        talk.deliver()
        assert talk.read() == b"answer"


def test_several_records_that_come_at_once_are_one_piece(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        talk.client.write(b"x" * 100_000)
        talk.deliver()
        assert [len(piece) for piece in talk.above.pieces] == [100_000]


@pytest.mark.parametrize("size", [1, 16_384, 65_536, 65_537, 1_000_000])
def test_what_is_written_arrives_whatever_its_size(contexts: Contexts, size: int) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        talk.server.write(b"x" * size)
        talk.server.writelines([b"head", b"", bytearray(b"y" * size), memoryview(b"end")])
        talk.server.write(b"")
        talk.deliver()
        assert talk.read() == b"x" * size + b"head" + b"y" * size + b"end"


def test_pieces_that_are_written_together_leave_together(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        talk.server.writelines([b"head", b"x" * 50_000])
        assert len(talk.plain.writes) == 1


def test_tickets_leave_with_the_first_bytes_behind_them(authority: Authority) -> None:
    @run
    async def play() -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*authority.issue())
        talk = Talk((server, authority.client()))
        with pytest.raises(ssl.SSLWantReadError):
            talk.client.do_handshake()
        talk.deliver()
        talk.client.do_handshake()
        talk.plain.protocol.data_received(talk.outgoing.read())
        assert talk.above.told == ["made"]
        assert talk.plain.writes == []
        talk.server.write(b"answer")
        assert len(talk.plain.writes) == 1
        talk.deliver()
        assert talk.read() == b"answer"
        assert talk.client.session is not None
        assert talk.client.session.has_ticket


def test_the_client_closes(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        talk.client.write(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            talk.client.unwrap()
        talk.deliver()
        assert talk.above.pieces == [b"last"]
        assert talk.server.is_closing()
        assert talk.plain.closing
        # It has the server's alert, too.
        talk.client.unwrap()
        await asyncio.sleep(0)
        assert talk.above.told == ["made", "eof", "lost"]


def test_the_server_closes_and_waits_for_the_client(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        talk.server.pause_reading()
        talk.server.write(b"last")
        talk.server.close()
        talk.server.write(b"too late")
        assert not talk.plain.closing
        assert not talk.plain.paused
        # What crosses the alert is dropped.
        talk.client.write(b"crossing" * 10_000)
        talk.deliver()
        assert talk.read() == b"last"
        assert not talk.plain.closing
        talk.client.unwrap()
        talk.deliver()
        assert talk.plain.closing
        assert talk.above.pieces == []
        await asyncio.sleep(0)
        assert talk.above.told == ["made", "lost"]


def test_a_fin_without_an_alert_ends_the_connection(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        assert not talk.server.eof_received()
        talk.server.write(b"too late")
        assert talk.plain.writes == []
        talk.server.connection_lost(None)
        assert talk.above.told == ["made", "lost"]


def test_a_handshake_that_fails_says_why(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        server, _ = contexts
        untrusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        talk = Talk((server, untrusting))
        with pytest.raises(ssl.SSLCertVerificationError):
            talk.shake_hands()
        talk.deliver()
        await asyncio.sleep(0)
        assert len(talk.failed) == 1
        assert isinstance(talk.failed[0], ssl.SSLError)
        assert talk.plain.closing
        assert talk.above.told == []


def test_a_client_without_a_common_version_gets_an_alert(contexts: Contexts, authority: Authority) -> None:
    @run
    async def play() -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*authority.issue())
        server.minimum_version = ssl.TLSVersion.TLSv1_3
        client = authority.client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        talk = Talk((server, client))
        with pytest.raises(ssl.SSLError, match=r"(?i)alert|version"):
            talk.shake_hands()
        assert len(talk.failed) == 1


def test_a_client_that_goes_during_the_handshake_is_told_of_once(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        with pytest.raises(ssl.SSLWantReadError):
            talk.client.do_handshake()
        talk.deliver()
        talk.server.close()
        assert talk.plain.closing
        talk.server.connection_lost(None)
        assert talk.failed == [None]
        assert talk.above.told == []


def test_forged_bytes_end_the_connection_with_an_alert(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        talk.plain.protocol.data_received(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert talk.plain.closing
        assert len(talk.plain.writes) == 1
        await asyncio.sleep(0)
        assert talk.above.pieces == []
        assert talk.above.told == ["made", "lost"]


def test_a_protocol_that_begins_with_a_pause_gets_nothing_before_it_resumes(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts, Above(lambda transport: transport.pause_reading()))
        while True:
            try:
                talk.client.do_handshake()
            except ssl.SSLWantReadError:
                talk.deliver()
            else:
                break
        # With TLS 1.3 it comes with the end of the handshake.
        talk.client.write(b"request")
        talk.deliver()
        if contexts[1].maximum_version is ssl.TLSVersion.TLSv1_3:
            assert talk.above.pieces == []
        talk.server.resume_reading()
        await asyncio.sleep(0)
        assert talk.above.pieces == [b"request"]


def test_flow_control_is_the_plain_transports(contexts: Contexts) -> None:
    @run
    async def play() -> None:
        talk = Talk(contexts)
        talk.shake_hands()
        talk.server.set_write_buffer_limits(high=7)
        assert talk.plain.high == 7
        talk.plain.unsent = 5
        assert talk.server.get_write_buffer_size() == 5
        talk.server.pause_writing()
        talk.server.resume_writing()
        assert talk.above.told == ["made", "pause", "resume"]
        assert talk.server.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        assert talk.server.get_extra_info("sslcontext") is contexts[0]
        assert talk.server.get_extra_info("peername") == ("192.0.2.7", 4711)
