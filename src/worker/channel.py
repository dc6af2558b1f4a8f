"""What worker and supervisor say to each other: lines of JSON over a socketpair, for the rare and ordered things.

From the worker: ``ready`` (with ``--reload`` perhaps with the error that it shows instead of the application), ``failed``
(could not start; with the error), ``retire`` (asks to be replaced; with the reason), and with ``--reload`` ``loaded`` (what
the application has imported) and ``delivering`` (it has drained, but for responses that clients are still taking; said again
and again).
To the worker: ``unready`` (a stop is coming: keep serving, tell load balancers to go), ``drain`` (stop accepting, finish,
exit; patient or prompt, and whether a newer worker gets the idle connections), ``reopen`` (log to these files, whose
descriptors come with the message). End of file is the lifeline: the peer is gone.
"""

from __future__ import annotations

import json
from typing import Any

Message = dict[str, Any]

READY = "ready"
FAILED = "failed"
RETIRE = "retire"
LOADED = "loaded"
DELIVERING = "delivering"
DRAIN = "drain"
UNREADY = "unready"
REOPEN = "reopen"


def encode(kind: str, **details: Any) -> bytes:
    """One message as one line."""
    return json.dumps({"kind": kind, **details}).encode("ascii") + b"\n"


class Decoder:
    """Puts lines together from whatever pieces the socket gives."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes, in order.

        A line that is no message (an application wrote to our descriptor) is passed over.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = []
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and "kind" in message:
                messages.append(message)
        return messages
