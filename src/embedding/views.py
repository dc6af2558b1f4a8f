"""What programs look at in a server: its sockets, connections and requests. The names are uvicorn's."""

from __future__ import annotations

import socket

from ..protocols.context import Connection, Service, Work
from ..supervisor.listeners import Listeners


class Listening:
    """The part of :class:`asyncio.Server` that programs use: the sockets."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets that are open."""
        return tuple(one for one in self._listeners.sockets if one.fileno() >= 0)

    def is_serving(self) -> bool:
        """Whether any is open."""
        return bool(self.sockets)

    def close(self) -> None:
        """Close all of them."""
        self._listeners.close()

    async def wait_closed(self) -> None:
        """Closing takes no time."""


class ServerState:
    """Who is being served, seen as it is at the moment; all empty while nothing is served."""

    def __init__(self) -> None:
        self.service: Service | None = None

    @property
    def total_requests(self) -> int:
        """Responses completed."""
        return self.service.requests if self.service is not None else 0

    @property
    def connections(self) -> set[Connection]:
        """The open connections."""
        return self.service.connections if self.service is not None else set()

    @property
    def tasks(self) -> set[Work]:
        """Requests in progress; each can be cancelled."""
        return self.service.in_flight if self.service is not None else set()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What every response has that does not say otherwise."""
        lines = self.service.defaults.block.splitlines() if self.service is not None else []
        return [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]
