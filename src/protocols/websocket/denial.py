"""The HTTP response with which an application refuses a WebSocket (ASGI's extension ``websocket.http.response``)."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import AppError
from ..http1.codec import RequestHead
from ..http1.response import Defaults, Framing, encode


class Denial:
    def __init__(self, head: RequestHead, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Defaults) -> None:
        self._request = head
        self.status = status
        self._headers = headers
        self._defaults = defaults
        self._framing: Framing | None = None
        """None until the response's head is made."""
        self._length = 0
        self._sent = 0

    @property
    def started(self) -> bool:
        """Whether the response's head is made: another response is out of the question."""
        return self._framing is not None

    def encode(self, body: bytes, more: bool) -> bytes:
        """The next bytes of the response. Raises :class:`AppError` for what must not go on the wire."""
        before = b""
        framing, length = self._framing, self._length
        if framing is None:
            whole = None if more else len(body)
            # The last argument: nothing can follow on a connection that was to become a WebSocket.
            before, framing, length, _ = encode(self._request, self.status, self._headers, self._defaults, whole, False)
        self._sent += len(body)
        if framing is Framing.LENGTH and (self._sent > length or (self._sent < length and not more)):
            raise AppError(f"response body of {self._sent} bytes where Content-Length says {length}")
        self._framing, self._length = framing, length
        if framing is Framing.EMPTY:
            body = b""
        elif framing is Framing.CHUNKED:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                body += b"0\r\n\r\n"
        return before + body
