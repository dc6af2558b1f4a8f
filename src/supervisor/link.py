"""The supervisor's end of a channel to a process that may say anything, without end, and may never listen."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ..ipc.channel import Decoder, Message, Outbox, Table, Violation

READ_SIZE = 16384
"""Bytes read at a time. Some hundred messages at most: a millisecond or two, so that signals and others get their turn."""
LAST_READS = 32
"""Reads of what a process said before it died: more than the kernel holds for us (net.core.wmem_default, 208 KiB)."""
ALLOWANCE, ALLOWED_PER_SECOND = 4 * 1024 * 1024, 65536
"""Bytes that a process may say at once, and in the long run. With ``--reload`` a large application names some MiB of modules
when it is ready; whoever says more than that talks without end."""


class Link:
    """One end of a socketpair, with the bounds of what comes through it. ``table`` says what the other end may say."""

    def __init__(self, channel: socket.socket, table: Table) -> None:
        channel.setblocking(False)
        self.channel = channel
        self.is_over = False
        """Whether nothing more will be read: the other end was closed, or said what it must not."""
        self._decoder = Decoder(table)
        self._outbox = Outbox(channel)
        self._allowed = float(ALLOWANCE)
        self._read_at = 0.0

    def read(self, now: float) -> list[Message]:
        """What one read brings, never waiting; ``now`` in seconds of a monotonic clock. Raises Violation."""
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
        """What a process said before it died; a Violation ends it in silence, for the process is gone already."""
        messages: list[Message] = []
        try:
            for _ in range(LAST_READS):
                messages += self.read(now)
        except Violation:
            pass
        return messages

    def send(self, message: bytes) -> bool:
        """Whether ``message`` goes out; not if the other end is gone, or does not read."""
        return self._outbox.send(message)

    def send_fds(self, message: bytes, descriptors: Sequence[int]) -> bool:
        """The same with descriptors, which come with the first byte; not if anything from before is left unsent."""
        if not self.is_sent:
            return False
        try:
            sent = socket.send_fds(self.channel, [message], descriptors)
        except OSError:
            return False
        return sent == len(message) or self._outbox.send(message[sent:])

    @property
    def is_sent(self) -> bool:
        """Whether all that was to be sent is with the kernel, or nobody is there."""
        return not self._outbox.flush() or self._outbox.is_empty

    def _spend(self, size: int, now: float) -> None:
        earned = (now - self._read_at) * ALLOWED_PER_SECOND
        self._allowed = min(ALLOWANCE, self._allowed + earned) - size
        self._read_at = now
        if self._allowed < 0:
            raise Violation(f"more than {ALLOWANCE} bytes, and goes on")
