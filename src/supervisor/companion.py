"""With ``--reload``: processes that are no workers but work for the supervisor. They may die at any time, and are made anew."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..worker.channel import LOADED, Decoder, Message, encode
from .backoff import Backoff
from .messages import Fact


class Companion(Protocol):
    """What one kind of companion does, in its own process and in the supervisor."""

    name: str
    """One word, for the log."""
    wanted: bool
    """Whether there should be a process now."""

    def main(self, link: socket.socket) -> int:
        """The process, from fork to exit code. It ends when ``link`` does."""

    def hear(self, message: Message) -> list[Fact]:
        """In the supervisor: what the fleet should know of what the process said."""

    def learn(self, message: Message) -> dict[str, Any] | None:
        """In the supervisor: a worker says what the application imported (see worker/modules.py). What to tell the process."""

    def died(self, now: float) -> None:
        """In the supervisor: the process is gone, at the wall-clock time ``now``."""


@dataclass(slots=True)
class Attendance:
    """A companion's process, or the wait until there is one again."""

    companion: Companion
    backoff: Backoff = field(default_factory=Backoff)
    pid: int | None = None
    """Of the process forked and not yet reaped."""
    channel: socket.socket | None = None
    """The supervisor's end, non-blocking."""
    decoder: Decoder = field(default_factory=Decoder)

    @property
    def is_due(self) -> bool:
        return self.companion.wanted and self.pid is None

    def tell(self, details: dict[str, Any]) -> None:
        """Tell the process ``details`` of what was imported; dropped if it does not read."""
        if self.channel is not None:
            try:
                self.channel.send(encode(LOADED, **details))
            except OSError:
                return

    def close(self) -> None:
        if self.channel is not None:
            self.channel.close()
        self.channel = None
