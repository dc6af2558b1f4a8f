"""What happens between accept and protocol: the PROXY header is read, then the TLS handshake takes place (see handshake.py).

A client that connects and says nothing costs little. The protocol is chosen afterwards, from the facts of the transport that is
ready by then (see :class:`Opening`).
"""

from __future__ import annotations

import asyncio
import logging
import socket

from ..config.options import Config
from ..errors import ConfigError
from ..protocols.facts import MakeConnection, Opening
from ..protocols.proxy.headers import Origin, Trusted
from .handshake import Handshake, Handshakes
from .tls import Certificates

logger = logging.getLogger("tricorn.error")

QUIET = 60.0
"""Seconds between two warnings about connections without a PROXY header: any client may cause them, and one warning shows the
mistake."""
MAX_PEEKED = 4096
"""Bytes of a PROXY header looked at in one go: the longest one that is accepted."""


class Setup:
    """Takes accepted sockets to the point where a connection can be made."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        certificates: Certificates,
        *,
        proxies: Trusted | None,
        proxy_time: float,
        handshake_time: float,
    ) -> None:
        """``proxies``: the peers that send a PROXY header first, within ``proxy_time`` seconds; None if there are none.
        ``handshake_time``: seconds for a TLS handshake.
        """
        self._loop = loop
        self._proxies = proxies
        self._proxy_time = proxy_time
        self.handshakes: Handshakes | None = None
        """None without TLS."""
        if certificates.context is not None:
            # Another takes its place when the files change.
            self.handshakes = Handshakes(loop, lambda: certificates.context, handshake_time)
        self._warn_at = 0.0

    @property
    def needs_socket(self) -> bool:
        """Whether something has to be read before there is a transport: then connections go through :meth:`admit`."""
        return self._proxies is not None

    def begin(self, make: MakeConnection, origin: Origin | None = None) -> asyncio.Protocol:
        """The protocol with which a transport begins, until ``make`` makes its connection."""
        return Opening(make, origin) if self.handshakes is None else Handshake(self.handshakes, make, origin)

    async def admit(self, connection: socket.socket, make: MakeConnection) -> None:
        """Let ``make`` have the accepted ``connection``. Raises OSError when the peer is gone or does not pass."""
        origin = None
        if self._proxies is not None and self._is_proxy(connection, self._proxies):
            origin = await self._read_origin(connection)
        await self._loop.connect_accepted_socket(lambda: self.begin(make, origin), connection)

    def _is_proxy(self, connection: socket.socket, proxies: Trusted) -> bool:
        """Whether the peer is one that speaks the PROXY protocol: its address decides, never what it sends (section 2)."""
        peer = connection.getpeername()
        if connection.family == socket.AF_UNIX:
            return proxies.trusts_unix(str(connection.getsockname()))
        return peer[0] in proxies

    async def _read_origin(self, connection: socket.socket) -> Origin | None:
        """Take the header off the socket, and not a byte more: a TLS handshake may follow."""
        # Late, because few servers are behind such a proxy.
        from ..protocols.proxy.protocol import HeaderReader, ProxyError

        reader = HeaderReader()
        try:
            async with asyncio.timeout(self._proxy_time):
                while not reader.complete:
                    connection.recv(reader.feed(await self._peek(connection, MAX_PEEKED)))
        except (ProxyError, TimeoutError) as error:
            self._warn(str(error) or f"no PROXY header within {self._proxy_time:g} s")
            raise ConnectionAbortedError(str(error)) from None
        return reader.origin

    async def _peek(self, connection: socket.socket, most: int) -> bytes:
        """What has come, up to ``most`` bytes, left there to be read. Raises ConnectionResetError when nothing will come."""
        while True:
            try:
                waiting = connection.recv(most, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await self._readable(connection)
                continue
            if not waiting:
                raise ConnectionResetError("closed before it was admitted")
            return waiting

    async def _readable(self, connection: socket.socket) -> None:
        waiter = self._loop.create_future()
        self._loop.add_reader(connection.fileno(), _wake, waiter)
        try:
            await waiter
        finally:
            self._loop.remove_reader(connection.fileno())

    def _warn(self, cause: str) -> None:
        level = logging.DEBUG
        if self._loop.time() >= self._warn_at:
            self._warn_at = self._loop.time() + QUIET
            level = logging.WARNING
        logger.log(level, "--proxy-protocol: connection of a trusted peer closed: %s", cause)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def trusted_by(config: Config) -> Trusted:
    """The peers that ``--forwarded-allow-ips`` names. Raises ConfigError."""
    try:
        return Trusted(config.forwarded_allow_ips)
    except ValueError as error:
        raise ConfigError(f"--forwarded-allow-ips {config.forwarded_allow_ips}: {error}") from None
