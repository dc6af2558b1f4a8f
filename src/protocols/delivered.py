"""What the access log gets of a response that was complete before its client had taken all of it."""

from __future__ import annotations

from collections.abc import Iterable

from .asgi import Field, Scope
from .context import Ended
from .request import RequestHead


class Delivered:
    """An exchange as it was when its response was complete (see context.Ended): by now its stream may serve another one."""

    __slots__ = ("client", "request", "response_headers", "scope", "seconds", "sent", "since", "status")

    def __init__(self, ended: Ended, client: str) -> None:
        self.client = client
        self.request: RequestHead = ended.request
        self.scope: Scope = ended.scope
        self.response_headers: Iterable[Field] = ended.response_headers
        self.status = ended.status
        self.since = ended.since
        self.seconds = ended.seconds
        self.sent = ended.sent
        """Bytes of the response's body that the client has taken."""
