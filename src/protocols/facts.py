"""What is known of a transport when its handshake is complete, and the protocol that waits for that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .proxy.headers import Origin
from .tls import describe


class Facts:
    """A transport's facts: from them a factory chooses and makes the connection. They do not change.

    It is no Value: to make one of those is a fiftieth of what a connection with one request costs.
    """

    __slots__ = ("alpn", "client", "is_secure", "misses_tls", "server", "tls")

    def __init__(
        self,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        is_secure: bool = False,
        tls: dict[str, Any] | None = None,
        alpn: str | None = None,
        misses_tls: bool = False,
    ) -> None:
        self.client = client
        """Host and port; None on a UNIX socket. What a PROXY header says counts more than the socket."""
        self.server = server
        """Host and port, or a UNIX socket's path and None; None if it has no name."""
        self.is_secure = is_secure
        """The client speaks TLS, with us or with the proxy."""
        self.tls = tls
        """The ASGI TLS extension, if TLS ends here."""
        self.alpn = alpn
        """The protocol agreed upon in the TLS handshake (RFC 7301)."""
        self.misses_tls = misses_tls
        """The port speaks TLS, and the client plain HTTP."""


def read_facts(transport: asyncio.BaseTransport, origin: Origin | None = None, misses_tls: bool = False) -> Facts:
    """The facts of ``transport``; ``origin``: what a PROXY header says of it."""
    ask = transport.get_extra_info
    client, server, tls = ask("peername"), ask("sockname"), ask("ssl_object")
    if origin is not None:
        client, server = origin.client, origin.server or server
    return Facts(
        # Of an IP socket's name, host and port. A UNIX socket's is a string, and a client's is empty.
        client[:2] if isinstance(client, tuple) else None,
        server[:2] if isinstance(server, tuple) else (server, None) if isinstance(server, str) and server else None,
        tls is not None or (origin is not None and origin.secure),
        describe(tls) if tls is not None else None,
        tls.selected_alpn_protocol() if tls is not None else None,
        misses_tls,
    )


MakeConnection = Callable[[asyncio.Transport, Facts], asyncio.Protocol]
"""Makes what speaks on a transport from now on. The transport then calls its ``connection_made``."""


class Opening(asyncio.Protocol):
    """Stands on a transport until its handshake is complete, then makes the connection.

    An event loop wants a protocol before the handshake, and only the handshake tells which one is right.
    """

    def __init__(self, make: MakeConnection, origin: Origin | None = None, misses_tls: bool = False) -> None:
        self._make = make
        self._origin = origin
        self._misses_tls = misses_tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        ours: Any = transport
        connection = self._make(ours, read_facts(ours, self._origin, self._misses_tls))
        ours.set_protocol(connection)
        connection.connection_made(ours)
