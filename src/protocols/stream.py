"""What an exchange needs of HTTP, whichever version of it is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from ..errors import AppError
from .asgi import Field
from .sendfile import File

Room = asyncio.Future[None] | None
"""Done when there is room to send more; None when there is. Several may wait for it, so shield it."""


class Stream(Protocol):
    """One request's way through a connection: the exchange sends its response here, as messages rather than bytes.

    A response is: any number of :meth:`send_interim`; then one :meth:`send_whole`; or one :meth:`send_head` with the first part
    of the body, any number of :meth:`send_body` or one :meth:`send_file`, and :meth:`end_body` or :meth:`send_trailers`. Or it
    is one :meth:`refuse`. When the response is complete, the stream serves the exchange no more. :meth:`reset` breaks it off.

    How the client knows where the body ends, whether the connection persists, and how an answer to ``Expect`` is spelled: all
    that is the stream's business. With HTTP/1.1 a connection has one stream at a time, with HTTP/2 many.

    A stream raises :class:`AppError` for what must not be sent, before any of it is sent.
    """

    client: str
    """The client, as the access log names it. It may differ from request to request: a proxy serves many."""

    @property
    def sent(self) -> int:
        """Bytes of the response's body sent so far."""

    def send_whole(self, status: int, headers: Iterable[Field], body: bytes) -> Room:
        """Send a whole response. If there is no room it is not sent at all, and is to be sent again later.

        Answers must not pile up before a client that does not read. In all other cases the data is sent, and room
        concerns what follows.
        """

    def send_head(self, status: int, headers: Iterable[Field], body: bytes, size: int | None = None) -> Room:
        """Send the head and the first part of the body. ``size``: of the whole body, where it is known."""

    def send_body(self, body: bytes) -> Room:
        """Send the next part of the body, which may be empty."""

    def end_body(self, body: bytes) -> None:
        """Send the last part of the body, which may be empty. The response is complete then."""

    async def send_file(self, file: File) -> None:
        """Send a file as the rest of the body, unless the body is not sent at all. Raises ClientDisconnected."""

    def send_trailers(self, headers: Iterable[Field]) -> None:
        """Send the response's last fields, if the client takes any. The response is complete then."""

    def end(self) -> None:
        """End the body here, and have the client ask another worker next. Raises AppError if the body has a length."""

    def send_interim(self, status: int, headers: Iterable[Field]) -> None:
        """Send a response before the response, such as 103, if the client knows such."""

    def refuse(self, status: int, text: str) -> None:
        """Send a response of the server's own, the last on its connection where that matters."""

    def want_body(self) -> None:
        """The application waits for the request's body: a client that wants to be asked for it is asked."""

    def owes(self) -> bool:
        """Whether some of what was sent waits with us for the client."""

    def when_delivered(self, end: Callable[[int], None]) -> None:
        """Call ``end`` when the client has taken all that was sent, or has left: with the bytes that it has not."""

    def has_closed(self) -> bool:
        """Whether the client has closed its side of the connection. It asks the kernel, so it is not for every request."""

    def consumed(self, size: int) -> None:
        """The application has taken so many bytes of the request's body: the client may send as many."""

    def reset(self) -> None:
        """The response can't be completed: end it so that the client can tell."""


def length_mismatch(sent: int, length: int, more: bool) -> AppError:
    """What to raise for a body of ``sent`` bytes, or ``more``, that does not have the ``length`` its head tells of."""
    so_far = "so far " if more else ""
    return AppError(f"response body has {sent} bytes {so_far}where Content-Length says {length}")
