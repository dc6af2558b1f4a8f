"""One client of the control socket: its bounded input and output."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from ...config.frozen import Value
from ...ipc.channel import Outbox
from ...ipc.control import MAX_REQUEST

STUCK = 5.0
"""Seconds that a client may leave an answer unread. It runs on this machine, and has nothing to do but read."""
MAX_OWED = 8
"""Orders of one client that may be unanswered at once. A person, or a script, has one."""


class Gone(Exception):
    """The client has left, or sends what can't be understood: it is to be dropped."""


class Owed(Value):
    """An order that is to be answered."""

    name: str | int | None
    """What the client calls it."""
    waits: bool
    """Whether the client waits until it is done. Else it is answered as soon as the fleet has accepted it."""


class Client:
    """A connection, non-blocking. Whatever it does, no call waits.

    ``hear`` is called when there is something to read or when the client takes data again.
    """

    def __init__(
        self, connection: socket.socket, now: float, hear: Callable[[Client, float], None], unsent: bytes = b""
    ) -> None:
        """``unsent``: what could not be sent before an upgrade."""
        self.connection = connection
        self.heard_at = now
        """When it said something last."""
        self.owed: dict[int, Owed] = {}
        """The orders that are not answered yet, by ticket."""
        self.stuck_at: float | None = None
        """When the client is dropped, if it has not read by then what was sent; None if it has."""
        self.progress: dict[str, Any] = {}
        """The progress that it was told last."""
        self._hear = hear
        self._line = bytearray()
        """The beginning of a line whose end has not come yet."""
        self._outbox = Outbox(connection, unsent)

    @classmethod
    def restored(cls, state: Mapping[str, Any], now: float, hear: Callable[[Client, float], None]) -> Client:
        """The client whose :meth:`state` that is."""
        # Nothing is sent yet: if the upgrade fails, another program goes on from the same state.
        client = cls(socket.socket(fileno=state["fd"]), state["heard_at"], hear, state["unsent"].encode("latin-1"))
        client.owed = {ticket: Owed(name, waits) for ticket, name, waits in state["owed"]}
        client._line += state["line"].encode("latin-1")
        client._note_unsent(now)
        return client

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to go on with it, fit for JSON; ``give`` is told of the descriptor."""
        return {
            "fd": give(self.connection.fileno()),
            "heard_at": self.heard_at,
            "owed": [[ticket, owed.name, owed.waits] for ticket, owed in self.owed.items()],
            "line": self._line.decode("latin-1"),
            "unsent": self._outbox.unsent.decode("latin-1"),
        }

    def attend(self, now: float) -> None:
        """There is something to read, or to write."""
        self._hear(self, now)

    def read_line(self, now: float) -> bytes | None:
        """The next line; None if there is no whole one. What comes behind it stays with the kernel. Raises Gone."""
        try:
            waiting = self.connection.recv(MAX_REQUEST, socket.MSG_PEEK)
            if not waiting:
                raise Gone
            end = waiting.find(b"\n")
            self._line += self.connection.recv(end + 1 or len(waiting))
        except BlockingIOError:
            return None
        except OSError:
            raise Gone from None
        self.heard_at = now
        if len(self._line) > MAX_REQUEST:
            self.send({"code": 2, "answer": {"error": f"a request has {MAX_REQUEST} bytes at most"}}, now)
            raise Gone
        if end < 0:
            return None
        line = bytes(self._line)
        self._line.clear()
        return line

    def send(self, message: dict[str, Any], now: float) -> None:
        """Send a message, now or when the client reads. Raises Gone."""
        if not self._outbox.send(json.dumps(message, allow_nan=False).encode("ascii") + b"\n"):
            raise Gone
        self._note_unsent(now)

    def flush(self, now: float) -> None:
        """Send what is left. Raises Gone."""
        if not self._outbox.flush():
            raise Gone
        self._note_unsent(now)

    def _note_unsent(self, now: float) -> None:
        if self._outbox.is_empty:
            self.stuck_at = None
        elif self.stuck_at is None:
            self.stuck_at = now + STUCK
