"""Whether a client that has closed its side of a connection has left, or has only asked all it wanted to ask.

TCP tells both by the same FIN, and nothing tells them apart before something is written. Those who only half-close (``nc -N``,
``printf | socat``) do so together with their request; those who leave do so when they have waited long enough. So the time
between the request's last byte and the FIN decides, and the kernel has measured it.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import sys

from .delivery import waiting

_IS_LINUX = sys.platform == "linux"
_LAST_SENT, _LAST_RECEIVED = 44, 52
"""Where ``tcpi_last_data_sent`` and ``tcpi_last_data_recv``, milliseconds ago, stand in Linux's ``struct tcp_info``."""
AT_ONCE = 0.5
"""Seconds after its request within which a client that half-closes does so: twice the least time after which TCP sends a lost
segment again (RFC 6298 section 2.4 has a second, Linux 0.2 s), so that one loss changes nothing."""


def has_left(transport: asyncio.Transport, waited: float) -> bool:
    """Whether the client has left, as far as can be known. Never of TLS, which event loops can't half-close.

    ``waited``: seconds since it closed its side, or since it was asked for the last time; 0 when it has just done so.
    """
    connection: socket.socket = transport.get_extra_info("socket")
    if _is_cut(connection):
        return True
    if _IS_LINUX and connection.family == socket.AF_UNIX:
        # Here the kernel tells: the connection hangs up only when the client has closed both its sides.
        return False
    times = _times(connection)
    if times is None:
        return waited > 0
    since_sent, since_received = times
    if not waited:
        return since_received >= AT_ONCE
    # A client that has left answers data with a reset. One that has confirmed what was sent meanwhile is there.
    return since_sent >= waited or waiting(transport) > 0


def _is_cut(connection: socket.socket) -> bool:
    """Whether the connection is over in both directions. Event loops don't look any more once the client's side is closed."""
    try:
        poll = select.poll()
        # Nothing is asked for; errors and hang-ups are told all the same (poll(2)).
        poll.register(connection.fileno(), 0)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False


def _times(connection: socket.socket) -> tuple[float, float] | None:
    """Seconds since data was last sent and last received; None where the kernel does not tell."""
    if not _IS_LINUX:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_RECEIVED + 4)
        (sent,) = struct.unpack_from("I", info, _LAST_SENT)
        (received,) = struct.unpack_from("I", info, _LAST_RECEIVED)
    except (OSError, struct.error):
        return None
    return sent / 1000, received / 1000
