"""What a connection passes between being accepted and speaking HTTP: the PROXY protocol's header, then the TLS handshake.

Each waits for the client's first byte with nothing but the socket: what opens connections and says nothing costs little.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from ..config.options import Config
from ..errors import ConfigError
from ..protocols.http1.connection import HttpConnection
from ..protocols.http1.ending import SPEAKS_TLS
from ..protocols.proxy.headers import Origin, Trusted
from .tls import Certificates

logger = logging.getLogger("tricorn.error")

SHUTDOWN_TIME = 86400.0
"""Seconds until the event loop gives up a TLS connection that is being closed: a day, because it does not ask whether the
client makes progress. We do (protocols/delivery.py), and end what makes none."""
QUIET = 60.0
"""Seconds between two warnings of connections without a proxy's header: it is a mistake in a configuration, or none."""
MOST_PEEKED = 4096
MOMENT = 0.001
"""Seconds for a handshake whose time was spent on waiting for its first byte: asyncio takes no zero."""


class Entrance:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        certificates: Certificates,
        *,
        proxies: Trusted | None,
        proxy_time: float,
        handshake_time: float,
    ) -> None:
        """``proxies``: who begins connections with the PROXY protocol's header, within ``proxy_time`` seconds; None if nobody.
        ``handshake_time``: seconds for a TLS handshake.
        """
        self._loop = loop
        self._certificates = certificates
        self._proxies = proxies
        self._proxy_time = proxy_time
        self._handshake_time = handshake_time
        self._warn_at = 0.0

    async def admit(self, protocol: HttpConnection, connection: socket.socket) -> None:
        """Let ``protocol`` have the accepted ``connection``. Raises OSError when the peer is gone or does not pass."""
        if self._proxies is not None and self._is_proxy(connection, self._proxies):
            protocol.origin = await self._read_origin(connection)
        if self._certificates.context is None:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
            return
        deadline = self._loop.time() + self._handshake_time
        async with asyncio.timeout_at(deadline):
            first = await self._peek(connection, 1)
        if first.isupper():
            # No record of TLS begins with a letter, every method of HTTP does. A handshake that fails would tell nobody why.
            protocol.refusal = SPEAKS_TLS
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
            return
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._certificates.context,
                ssl_handshake_timeout=max(MOMENT, deadline - self._loop.time()),
                ssl_shutdown_timeout=SHUTDOWN_TIME,
            )
        except OSError as error:
            # Whoever can reach the port can make this happen as often as he likes: not a line for the log.
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
        # Late, for few servers are behind such a proxy.
        from ..protocols.proxy.protocol import HeaderReader, ProxyError

        reader = HeaderReader()
        try:
            async with asyncio.timeout(self._proxy_time):
                while not reader.complete:
                    connection.recv(reader.feed(await self._peek(connection, MOST_PEEKED)))
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
