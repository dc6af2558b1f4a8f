"""A TLS handshake: the client's first bytes are awaited without TLS, and then a TLS transport reads them.

So a client that says nothing costs no TLS, and one that speaks plain HTTP is told so.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

from ..protocols.facts import Facts, MakeConnection, Opening
from ..protocols.proxy.headers import Origin
from .tls_transport import TlsTransport

logger = logging.getLogger("tricorn.error")


class Handshakes:
    """The connections of one worker whose handshakes are not complete.

    To wait for the first bytes in the protocol that has them costs an eighth less CPU time for each connection than to peek at
    the socket from a task.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Callable[[], ssl.SSLContext | None], seconds: float) -> None:
        """``context`` returns the one for new connections. A handshake may take so many ``seconds``."""
        self.loop = loop
        self.context = context
        self.seconds = seconds
        self.under_way: set[Handshake] = set()
        self.on_end: Callable[[], None] = lambda: None
        """Called when one has failed."""

    def expire(self) -> None:
        """Once a second: close those whose time is over."""
        now = self.loop.time()
        for one in [one for one in self.under_way if one.deadline <= now]:
            one.give_up()

    def give_up(self) -> None:
        """Close all."""
        for one in list(self.under_way):
            one.give_up()


class Handshake(asyncio.Protocol):
    """Stands on a transport until the client's first bytes come."""

    __slots__ = ("_all", "_make", "_origin", "_transport", "deadline")

    def __init__(self, all: Handshakes, make: MakeConnection, origin: Origin | None = None) -> None:
        """``origin``: what a PROXY header said."""
        self._all = all
        self._make = make
        self._origin = origin
        self._transport: asyncio.Transport | None = None
        self.deadline = all.loop.time() + all.seconds
        all.under_way.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        transport, context = self._transport, self._all.context()
        assert transport is not None
        assert context is not None
        if data[:1].isupper():
            # A TLS record never begins with a letter, every method of HTTP does. A failed handshake would not say why.
            opening = Opening(self._complete, self._origin, misses_tls=True)
            opening.connection_made(transport)
            plain: Any = transport.get_protocol()
            plain.data_received(data)
            return
        tls = TlsTransport(transport, context, Opening(self._complete, self._origin), self._failed)
        transport.set_protocol(tls)
        tls.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail()

    def give_up(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _complete(self, transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
        # From now on the service counts it.
        self._all.under_way.discard(self)
        return self._make(transport, facts)

    def _failed(self, error: Exception | None) -> None:
        if error is not None:
            # Any client can cause this, as often as it likes: it is not worth a line of the log.
            logger.debug("TLS handshake failed: %s", error)
        self._fail()

    def _fail(self) -> None:
        if self in self._all.under_way:
            self._all.under_way.discard(self)
            self._all.on_end()
