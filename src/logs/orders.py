"""What the supervisor orders all its processes to do with the log: take files that it has opened again, or another level."""

from __future__ import annotations

import socket

from ..ipc import channel
from .files import MAX_FILES
from .setup import adopt, choose_level

TABLE: channel.Table = {kind: channel.TO_WORKER[kind] for kind in (channel.REOPEN, channel.LEVEL)}
"""The orders."""
MAX_DESCRIPTORS = max(MAX_FILES, 3)
"""The most descriptors that come with one message. A template gets three with an order to fork."""
READ_SIZE = 65536
"""Bytes read at a time: far more than the supervisor ever says at once."""


class LogOrders:
    """Reads from one channel, and obeys the orders that concern the log."""

    def __init__(self, link: socket.socket) -> None:
        """``link`` is the process's end of the channel to its supervisor."""
        self._link = link
        self._received: list[int] = []
        """Descriptors that came through the channel, for the next message that speaks of some."""

    def read(self) -> bytes:
        """What has come; empty when the supervisor has closed its end. Raises OSError, BlockingIOError if nothing has."""
        data, descriptors, _, _ = socket.recv_fds(self._link, READ_SIZE, MAX_DESCRIPTORS)
        self._received += descriptors
        return data

    def take(self) -> list[int]:
        """The descriptors that came with the message that was read last, if it is none of these orders."""
        taken, self._received = self._received, []
        return taken

    def obey(self, message: channel.Message) -> bool:
        """Obey ``message`` if it concerns the log; returns whether it does."""
        match message["kind"]:
            case channel.REOPEN:
                adopt(dict(zip(message["files"], self.take(), strict=False)))
            case channel.LEVEL:
                choose_level(message["level"])
            case _:
                return False
        return True
