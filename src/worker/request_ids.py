"""``--request-id``: gives each request an id, and the id of the trace that it belongs to."""

from __future__ import annotations

import os
import re

from ..logging import request_ids
from ..protocols.asgi import Application, Field, Message, Receive, Scope, Send

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""What we take from a client: nothing that could spoil a log, a header or a URL."""
TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}.*")
"""W3C Trace Context, section 3.2."""


class RequestIds:
    """Runs ``app`` with ``scope["request_id"]`` and ``scope["trace_id"]``; the response has the header ``X-Request-ID``.

    The request's id is the header ``X-Request-ID``; the trace's is in ``traceparent``. What is missing or malformed is made: 32
    hexadecimal digits at random. Log records in JSON have both, whatever logger they are written to.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id, trace_id = read_ids(scope["headers"])
        scope["request_id"], scope["trace_id"] = request_id, trace_id
        # The context is this request's own, and lives as long as its task.
        request_ids.set({"request_id": request_id, "trace_id": trace_id})

        async def send_with_id(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers = list(message.get("headers", ()))
                if not any(bytes(name).lower() == b"x-request-id" for name, _ in headers):
                    message = {**message, "headers": [*headers, (b"x-request-id", request_id.encode())]}
            await send(message)

        await self._app(scope, receive, send_with_id)


def read_ids(headers: list[Field]) -> tuple[str, str]:
    """The ids of a request and of its trace: from its ``headers``, or new ones."""
    found = dict(headers)
    made = os.urandom(16).hex()
    trace = TRACEPARENT.fullmatch(found.get(b"traceparent", b""))
    request = found.get(b"x-request-id", b"")
    request_id = request.decode("ascii") if REQUEST_ID.fullmatch(request) else made
    return request_id, trace[1].decode("ascii") if trace is not None else made
