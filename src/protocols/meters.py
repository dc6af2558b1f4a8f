"""What connections and exchanges count: responses, bytes, WebSocket messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

Count = Callable[[float], None]
"""Counts a response that has ended, so many seconds after its request began."""


class Meters(Protocol):
    """Where a worker counts."""

    received: float
    """Bytes read from clients, without TLS's own. It is an attribute, because a call would cost twice as much."""
    sent: float
    """Bytes written to clients, without TLS's own."""
    messages_received: int
    """Messages of WebSockets."""
    messages_sent: int

    @property
    def counters(self) -> Mapping[str, Mapping[int, Count]]:
        """The functions that count responses, by method and status, as far as these came up before."""

    def counter(self, method: str, status: int) -> Count:
        """The same for any method and status."""

    def show(self) -> None:
        """Show what the attributes say; called once a second, too. A response that ends shows the bytes itself."""


class Unread:
    """Meters that nobody reads."""

    def __init__(self) -> None:
        self.received = 0.0
        self.sent = 0.0
        self.messages_received = 0
        self.messages_sent = 0
        self.counters: Mapping[str, Mapping[int, Count]] = {}

    def counter(self, method: str, status: int) -> Count:
        """A function that counts nothing."""
        return lambda seconds: None

    def show(self) -> None:
        """Show nothing."""
