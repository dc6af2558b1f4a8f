"""An exchange's connection, as the exchange knows it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from .http1.response import Framing
from .sendfile import File


class Wire(Protocol):
    client: str
    """For whom the current request is, in the access log."""
    room: asyncio.Future[None] | None
    """What to wait for before sending more; None when there is room."""

    chunked: int
    """Bytes of the response's body that went out in chunks; the exchange sets it to 0 when it begins to send some."""
    bursts: bool
    """The last response was sent without a pause between its pieces."""

    def begin(self) -> None:
        """With ``bursts``: a request begins."""

    def write(self, data: bytes) -> None:
        """Send at once, but for what is sent without a pause: that leaves together, at the turn's end at the latest."""

    def hold(self, data: bytes) -> None:
        """Send together with what is written next."""

    def write_chunk(self, data: bytes) -> None:
        """As ``write``, of some bytes of a body that goes out in chunks; until the body's end nothing else is written."""

    def write_last(self, data: bytes) -> None:
        """Send at once, with all that waits."""

    async def send_file(self, file: File) -> None:
        """Send a file behind all that was written."""

    def consumed(self) -> None:
        """The application has taken what was buffered of the request's body."""

    def ask_for_body(self) -> None:
        """Tell the client that waits to be asked for the body to send it (RFC 9110 section 10.1.1)."""

    def respond(self, data: bytes, keep_alive: bool) -> None:
        """Send the last of a response."""

    def broken(self, framing: Framing) -> None:
        """The response can't be completed: close so that the client can tell."""
