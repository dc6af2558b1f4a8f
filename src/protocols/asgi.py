"""Types of ASGI 3 scopes, messages and callables (ASGI specification 3.0, HTTP 2.3, WebSocket 2.4, lifespan 2.0)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

Field = tuple[bytes, bytes]
Fields = Sequence[Field]
"""Header fields in order: names in lower case, values without surrounding white space."""

HTTP_VERSIONS = {"version": "3.0", "spec_version": "2.3"}
"""Not 2.4, whose ``send`` raises when the client has left: frameworks that read it no longer listen for ``http.disconnect``,
and a stream that waits for its next event sends nothing, so it would never end."""
WEBSOCKET_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
LIFESPAN_VERSIONS = {"version": "3.0", "spec_version": "2.0"}


class ClientDisconnected(OSError):
    """Raised by ``send`` when the client is gone (an OSError, as the ASGI specifications 2.4 ask)."""
