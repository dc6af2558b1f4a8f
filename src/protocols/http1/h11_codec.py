"""The reference codec: h11."""

from __future__ import annotations

import h11

from ...errors import BadRequest
from ..request import RequestHead
from .grammar import check_grammar, interpret


def parse(raw: bytes) -> RequestHead:
    """Parse one whole request head. Raises :class:`BadRequest`."""
    check_grammar(raw)
    # h11 is asked for one head only, so a new connection object each time: its bookkeeping of responses is not used.
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=len(raw) + 1)
    reader.receive_data(raw)
    try:
        event = reader.next_event()
    except h11.RemoteProtocolError as error:
        # Its frames refer to it: a cycle, which would keep the connection, as our caller, until garbage is collected.
        error.__traceback__ = None
        raise BadRequest(error.error_status_hint, str(error)) from None
    if not isinstance(event, h11.Request):
        raise BadRequest(400, "malformed request")
    return interpret(event.method, event.target, event.http_version, list(event.headers))
