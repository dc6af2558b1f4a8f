"""What happens between accept and protocol: the PROXY header is read, then the TLS handshake takes place.

Both wait for the client's first byte with nothing but the socket, so a client that connects and says nothing costs little.
The protocol is chosen afterwards, from the facts of the transport that is ready by then (see :class:`Opening`).
"""

from __future__ import annotations

import asyncio
import logging
import socket

from ..config.options import Config
from ..errors import ConfigError
from ..protocols.facts import MakeConnection, Opening
from ..protocols.proxy.headers import Origin, Trusted
from .tls import Certificates

logger = logging.getLogger("tricorn.error")

SHUTDOWN_TIME = 86400.0
"""Seconds until the event loop gives up a TLS connection that is being closed: a day, because the loop does not look whether
the client makes progress. We do (protocols/delivery.py), and end a connection that makes none."""
QUIET = 60.0
"""Seconds between two warnings about connections without a PROXY header: any client may cause them, and one warning shows the
mistake."""
MAX_PEEKED = 4096
"""Bytes of a PROXY header looked at in one go: the longest one that is accepted."""
MOMENT = 0.001
"""Seconds for a handshake whose time was spent on waiting for its first byte: asyncio takes no zero."""


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
        self._certificates = certificates
        self._proxies = proxies
        self._proxy_time = proxy_time
        self._handshake_time = handshake_time
        self._warn_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing happens in between."""
        return self._proxies is None and self._certificates.context is None

    async def admit(self, connection: socket.socket, make: MakeConnection) -> None:
        """Let ``make`` have the accepted ``connection``. Raises OSError when the peer is gone or does not pass."""
        origin = None
        if self._proxies is not None and self._is_proxy(connection, self._proxies):
            origin = await self._read_origin(connection)
        if self._certificates.context is None:
            await self._loop.connect_accepted_socket(lambda: Opening(make, origin), connection)
            return
        deadline = self._loop.time() + self._handshake_time
        async with asyncio.timeout_at(deadline):
            first = await self._peek(connection, 1)
        if first.isupper():
            # A TLS record never begins with a letter, every method of HTTP does. A failed handshake would not say why.
            await self._loop.connect_accepted_socket(lambda: Opening(make, origin, misses_tls=True), connection)
            return
        try:
            await self._loop.connect_accepted_socket(
                lambda: Opening(make, origin),
                connection,
                ssl=self._certificates.context,
                ssl_handshake_timeout=max(MOMENT, deadline - self._loop.time()),
                ssl_shutdown_timeout=SHUTDOWN_TIME,
            )
        except OSError as error:
            # Any client can cause this, as often as it likes: it is not worth a line of the log.
            logger.debug("TLS handshake failed: %s", error)
            raise

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
