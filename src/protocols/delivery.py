"""What clients have yet to take of what was written for them, and how long one may take nothing.

Time counts from a client's last progress: a slow one is served to the end, however long that takes, and one that takes nothing
is cut off. While a client keeps up, nothing is measured: a connection is watched from the moment when something waits for its
client."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import select
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

_IS_LINUX = sys.platform == "linux"
_SIOCOUTQ = 0x5411
"""Linux's request for the bytes in a socket's send queue (tcp(7), unix(7)); the module ``socket`` does not name it."""
_ACKNOWLEDGED = 120
"""Where ``tcpi_bytes_acked`` stands in Linux's ``struct tcp_info`` (linux/tcp.h): 8 bytes, since Linux 4.1."""
ALERT_TIME = 2.0
"""Seconds that a client gets to close its side of TLS, too. A TLS transport waits for that, but many clients do so only when
they use the connection the next time, and a server need not wait for it (RFC 8446 section 6.1)."""


def _socket_of(transport: asyncio.Transport) -> socket.socket:
    """Raises OSError if it is gone."""
    found: socket.socket | None = transport.get_extra_info("socket")
    if found is None:
        raise OSError(errno.EBADF, "the transport has no socket any more")
    return found


def waiting(transport: asyncio.Transport) -> int:
    """Bytes written for a client that its system has not confirmed yet, be they with us or in the kernel.

    Where the kernel does not tell how many it holds (elsewhere than on Linux), it counts 1 while it takes no more.
    """
    held = transport.get_write_buffer_size()
    try:
        descriptor: int = _socket_of(transport).fileno()
        if not _IS_LINUX:
            return held + (not _is_writable(descriptor))
        (queued,) = struct.unpack("i", fcntl.ioctl(descriptor, _SIOCOUTQ, b"\0\0\0\0"))
        return held + int(queued)
    except (OSError, ValueError):
        return held


def mark(transport: asyncio.Transport) -> int:
    """A number that changes when the client takes something.

    With TCP on Linux it is what the client has confirmed so far: a transport's buffer does not shrink before a third of the
    kernel's, megabytes, is free. Otherwise it is the number of bytes that wait. That changes also when something is written,
    but not for ever."""
    confirmed = _confirmed(transport)
    return waiting(transport) if confirmed is None else confirmed


def _confirmed(transport: asyncio.Transport) -> int | None:
    """Bytes that the client's system has confirmed so far; None where the kernel does not tell. It tells it of TCP on Linux."""
    if not _IS_LINUX:
        return None
    try:
        info = _socket_of(transport).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED + 8)
        return int(struct.unpack_from("Q", info, _ACKNOWLEDGED)[0])
    except (OSError, ValueError, struct.error):
        return None


def is_blocked(transport: asyncio.Transport) -> bool:
    """Whether something waits with us for the client; if not, the kernel has all that was written, and sends it without us."""
    if transport.get_write_buffer_size():
        return True
    try:
        return not _is_writable(_socket_of(transport).fileno())
    except (OSError, ValueError):
        return False


def _is_writable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


def reset_when_closed(transport: asyncio.Transport) -> None:
    """Let the close that follows be a reset. So the client can tell that something is missing, however the body's end is
    marked."""
    linger = struct.pack("ii", 1, 0)
    with suppress(OSError):
        _socket_of(transport).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class Sender(Protocol):
    """A connection as its deliveries know it."""

    transport: asyncio.Transport

    def delivered(self) -> None:
        """The client's system has all that was written."""

    def cut_off(self) -> None:
        """The client has taken nothing for as long as it may."""


class Deliveries:
    """The connections of one worker whose clients have something to take. Looked at once a second."""

    def __init__(self, send_time: float) -> None:
        """``send_time``: seconds for which a client may take nothing."""
        self._send_time = send_time
        self._watched: dict[Sender, tuple[int, float]] = {}
        """The mark of each at its last progress, and when it will be cut off."""

        self._ends: dict[Sender, list[tuple[int, int, Callable[[int], None]]]] = {}
        """For each response that is not delivered yet: the number of confirmed bytes at which it is, that number now, what to
        call."""

    def tell(self, sender: Sender, end: Callable[[int], None]) -> None:
        """Call ``end`` when all that was written until now is delivered, or can't be: with the bytes that were not."""
        transport = sender.transport
        now = _confirmed(transport) or 0
        self._ends.setdefault(sender, []).append((now + waiting(transport), now, end))
        self.watch(sender)

    def watch(self, sender: Sender) -> None:
        """From the next look on, until all is delivered."""
        self._watched.setdefault(sender, (-1, 0.0))

    def is_due(self, sender: Sender) -> bool:
        """Whether the client has yet to take something; then that is watched."""
        if not waiting(sender.transport):
            return False
        self.watch(sender)
        return True

    def forget(self, sender: Sender) -> None:
        """It is lost."""
        self._watched.pop(sender, None)
        if sender in self._ends:
            confirmed = _confirmed(sender.transport)
            for whole, before, end in self._ends.pop(sender):
                end(max(0, whole - (before if confirmed is None else confirmed)))

    def __len__(self) -> int:
        return len(self._watched)

    def look(self, now: float) -> None:
        """See who has made progress, who has taken all, and who has taken nothing for too long."""
        for sender, (known, until) in list(self._watched.items()):
            if not waiting(sender.transport):
                for _, _, end in self._ends.pop(sender, ()):
                    end(0)
                self.forget(sender)
                sender.delivered()
            elif (current := mark(sender.transport)) != known:
                self._watched[sender] = current, now + self._send_time
            elif now >= until:
                self.forget(sender)
                sender.cut_off()
