"""One question of a client of the control socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...ipc.channel import Message


class Request:
    """A question of one client. It is answered once."""

    def __init__(self, arguments: Message, answer: Callable[[int, Mapping[str, Any]], None]) -> None:
        self.arguments = arguments
        """What was asked, checked."""
        self.answer = answer
        """Gives the exit code of ``tricornctl`` and what to show. Does nothing if the client has left."""
