"""WebSocket as the options say. It is a module of its own because it is imported only when a client asks for WebSocket."""

from __future__ import annotations

from collections.abc import Callable

from ..config.options import Config
from ..protocols.context import Upgrade
from ..protocols.http1.shared import Http1
from ..protocols.websocket.connection import upgrade
from ..protocols.websocket.settings import Settings, reader_of


def make_upgrade(http1: Http1, config: Config, access: Callable[[str], None] | None) -> Upgrade:
    """The function that makes WebSocket connections; ``access`` writes a line to the access log."""
    settings = Settings(
        # Uvicorn has two names for the library websockets; here both mean the same reader.
        reader=reader_of(config.ws.removesuffix("-sansio")),
        max_size=config.ws_max_size,
        max_queue=config.ws_max_queue,
        ping_interval=config.ws_ping_interval,
        ping_timeout=config.ws_ping_timeout,
        deflate=config.ws_per_message_deflate,
        access=access,
    )
    return upgrade(http1, settings)
