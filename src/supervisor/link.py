"""The supervisor's end of a channel. The process at the other end may write anything, without end, and may never read."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..ipc.channel import Decoder, Message, Outbox, Table, Violation

READ_SIZE = 16384
"""Bytes read at a time: some hundred messages, a millisecond or two. So signals and other processes get their turn."""
LAST_READS = 32
"""Reads of what a dead process had said: more than the kernel keeps (net.core.wmem_default, 208 KiB)."""
ALLOWANCE, ALLOWED_PER_SECOND = 4 * 1024 * 1024, 65536
"""Bytes that a process may say at once, and in the long run. With ``--reload`` a large application names some MiB of modules
when it is ready. A process that says more than that never stops."""


class Link:
    """One end of a socketpair; it bounds what comes through. ``table`` says which messages the other end may send."""

    def __init__(self, channel: socket.socket, table: Table, unsent: bytes = b"") -> None:
        """``unsent``: what could not be sent before an upgrade."""
        channel.setblocking(False)
        self.channel = channel
        self.is_over = False
        """Whether nothing more is read: the other end was closed, or said something that it must not say."""
        self._decoder = Decoder(table)
        self._outbox = Outbox(channel, unsent)
        self._allowed = float(ALLOWANCE)
        self._read_at = 0.0

    @classmethod
    def restored(cls, state: Mapping[str, Any], table: Table) -> Link:
        """The link whose :meth:`state` that is."""
        # Nothing is sent yet: if the upgrade fails, another program goes on from the same state.
        link = cls(socket.socket(fileno=state["fd"]), table, state["unsent"].encode("latin-1"))
        link.is_over, link._allowed, link._read_at = state["is_over"], state["allowed"], state["read_at"]
        link._decoder.feed(state["heard"].encode("latin-1"))
        return link

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to go on with it, fit for JSON; ``give`` is told of the descriptor."""
        return {
            "fd": give(self.channel.fileno()),
            "is_over": self.is_over,
            "allowed": self._allowed,
            "read_at": self._read_at,
            "heard": self._decoder.rest.decode("latin-1"),
            "unsent": self._outbox.unsent.decode("latin-1"),
        }

    def read(self, now: float) -> list[Message]:
        """The messages that one read brings; never waits. ``now`` is in seconds of CLOCK_MONOTONIC. Raises Violation."""
        if self.is_over:
            return []
        try:
            data = self.channel.recv(READ_SIZE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.is_over = not data
        try:
            self._spend(len(data), now)
            return self._decoder.feed(data)
        except Violation:
            self.is_over = True
            raise

    def read_last(self, now: float) -> list[Message]:
        """What a process said before it died, up to the first violation."""
        messages: list[Message] = []
        try:
            for _ in range(LAST_READS):
                messages += self.read(now)
        except Violation:
            pass
        return messages

    def send(self, message: bytes) -> bool:
        """Returns whether ``message`` goes out: not if the other end is gone, or does not read."""
        return self._outbox.send(message)

    def send_fds(self, message: bytes, descriptors: Sequence[int]) -> bool:
        """The same with descriptors, which go with the first byte; not if an earlier message is still unsent."""
        if not self.is_sent:
            return False
        try:
            sent = socket.send_fds(self.channel, [message], descriptors)
        except OSError:
            return False
        return sent == len(message) or self._outbox.send(message[sent:])

    @property
    def is_sent(self) -> bool:
        """Whether nothing is left to send: all is with the kernel, or the other end is gone."""
        return not self._outbox.flush() or self._outbox.is_empty

    def _spend(self, size: int, now: float) -> None:
        earned = (now - self._read_at) * ALLOWED_PER_SECOND
        self._allowed = min(ALLOWANCE, self._allowed + earned) - size
        self._read_at = now
        if self._allowed < 0:
            raise Violation(f"more than {ALLOWANCE} bytes, and goes on")
