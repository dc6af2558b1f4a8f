"""What the operator chooses for all WebSocket connections of a worker: sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .deflate import Agreement
from .frames import Reader
from .wsproto_reader import FastReader, ReferenceReader

MakeReader = Callable[[int, Agreement | None], Reader]
"""Makes a connection's reader, of the size that a message may have and what is agreed on compression."""


def reader_of(choice: str) -> MakeReader:
    """The reader of ``--ws choice``; ``auto`` is the fast lane with wsproto behind it."""
    if choice == "websockets":
        from .websockets_reader import WebsocketsReader

        return WebsocketsReader
    return ReferenceReader if choice == "wsproto" else FastReader


@dataclass(frozen=True, slots=True)
class Settings:
    """One worker's settings."""

    reader: MakeReader = FastReader
    max_size: int = 16 * 1024 * 1024
    """The largest message, after inflation."""
    max_queue: int = 32
    """Messages that may wait for the application before reading pauses."""
    ping_interval: float = 20
    """Time between pings; 0 for none."""
    ping_timeout: float = 20
    """How long after a ping a client may stay silent; 0 for as long as it likes."""
    deflate: bool = True
    """Whether to agree to permessage-deflate."""
    access: Callable[[str], None] | None = None
    """Writes a line to the access log."""
