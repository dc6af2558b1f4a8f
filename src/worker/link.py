"""A worker's end of the channel to its supervisor."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from ..ipc import channel
from ..logs.orders import LogOrders

logger = logging.getLogger("tricorn.error")


class SupervisorLink:
    """Says what the worker has to say, and hears what the supervisor wants, from :meth:`open` to :meth:`close`.

    It answers by itself what concerns no other part: probes, log files that were opened again, and the log's level.
    """

    def __init__(self, end: socket.socket, obey: Callable[[channel.Message], None], lost: Callable[[bool], None]) -> None:
        """``end`` is the worker's end of the socketpair. ``obey`` gets each order; ``lost`` is called when none will come any
        more, with whether the supervisor is gone."""
        self._loop = asyncio.get_running_loop()
        self._end = end
        self._obey = obey
        self._lost = lost
        self._outbox = channel.Outbox(end)
        self._decoder = channel.Decoder(channel.TO_WORKER)
        self._log = LogOrders(end)

    def open(self) -> None:
        """Hear the supervisor from now on."""
        self._loop.add_reader(self._end.fileno(), self._read)

    def close(self) -> None:
        """Neither hear nor send any more. The socket stays open: while it is, the supervisor knows that the worker lives."""
        self._loop.remove_reader(self._end.fileno())
        self._loop.remove_writer(self._end.fileno())

    def say(self, kind: str, **details: Any) -> bool:
        """Whether the message goes out: not if the supervisor is dead, or does not read."""
        return self.send(channel.encode(kind, **details))

    def send(self, message: bytes) -> bool:
        """The same with an encoded message."""
        is_taken = self._outbox.send(message)
        if not self._outbox.is_empty:
            self._loop.add_writer(self._end.fileno(), self._send_rest)
        return is_taken

    def _send_rest(self) -> None:
        if not self._outbox.flush() or self._outbox.is_empty:
            self._loop.remove_writer(self._end.fileno())

    def _read(self) -> None:
        try:
            data = self._log.read()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._end.fileno())
            logger.error("The supervisor is gone: worker stops")
            self._lost(True)
            return
        try:
            messages = self._decoder.feed(data)
        except channel.Violation as violation:
            # Perhaps the application has read from our end.
            self._loop.remove_reader(self._end.fileno())
            logger.error("The supervisor can't be understood, it says %s: worker stops", violation)
            self._lost(False)
            return
        for message in messages:
            self._hear(message)

    def _hear(self, message: channel.Message) -> None:
        if message["kind"] == channel.PROBE:
            self.say(channel.ALIVE)
        elif not self._log.obey(message):
            self._obey(message)
