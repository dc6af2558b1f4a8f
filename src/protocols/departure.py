"""Whether a client that has closed its side of a connection has left, or has only sent all its requests.

TCP tells both by the same FIN, and nothing tells them apart before something is written. Clients that only half-close
(``nc -N``, ``printf | socat``) do so together with their request. Clients that leave do so when they have waited long enough.
So the time between the request's last byte and the FIN decides. Only the kernel can tell it: a handler may block the event loop
between the two."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import sys

_IS_LINUX = sys.platform == "linux"
_HALF_CLOSED: int = getattr(select, "POLLRDHUP", 0)
"""poll(2): the client has closed its side. Only Linux has it."""
_OFFSETS = 44, 52, 56
"""Offsets in Linux's ``struct tcp_info`` of ``tcpi_last_data_sent``, ``tcpi_last_data_recv`` and ``tcpi_last_ack_recv``: how
long ago each was, in milliseconds. A FIN counts as a confirmation (every segment with ACK does), and not as data."""
AT_ONCE = 0.5
"""Seconds after its request within which a client that half-closes does so: twice the least time after which TCP sends a lost
segment again (RFC 6298 section 2.4 has a second, Linux 0.2 s), so that one loss changes nothing. It is also the longest time by
which TCP may delay a confirmation (RFC 9293 section 3.8.6.3)."""


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the client has certainly left. Call it when its FIN is read, and not with TLS, which event loops can't
    half-close."""
    connection: socket.socket = transport.get_extra_info("socket")
    if _is_cut(connection):
        return True
    times = _times(connection)
    if times is None:
        return False
    sent, received, confirmed = times
    # The last confirmation is the FIN, or a later one of data that was sent since the request.
    if received - confirmed < AT_ONCE:
        return False
    return sent >= received or sent - confirmed > AT_ONCE


def is_silent(transport: asyncio.Transport, seconds: float) -> bool:
    """Whether a client shows no sign of life: in the last ``seconds`` it has confirmed nothing.

    ``seconds``: no more than have passed since its FIN.
    """
    connection: socket.socket = transport.get_extra_info("socket")
    if _is_cut(connection):
        return True
    if _IS_LINUX and connection.family == socket.AF_UNIX:
        # Here the kernel tells: the connection hangs up only when the client has closed both its sides.
        return False
    times = _times(connection)
    # Its FIN is older than that. A client that has left answers data with a reset instead.
    return times is None or times[2] >= seconds


def has_closed(transport: asyncio.Transport) -> bool:
    """Whether the client has closed its side, also if the event loop has not read that yet.

    It is for the end of a request that nobody waits for any longer: there a client that closed its side is taken for one that
    has left. On a UNIX socket the kernel tells one that only half-closed.
    """
    connection: socket.socket = transport.get_extra_info("socket")
    return _is_cut(connection, 0 if connection.family == socket.AF_UNIX else _HALF_CLOSED)


def _is_cut(connection: socket.socket, asked: int = 0) -> bool:
    """Whether the connection is over in both directions. Event loops don't look any more once the client's side is closed."""
    try:
        poll = select.poll()
        # If no event is asked for, errors and hang-ups are reported all the same (poll(2)).
        poll.register(connection.fileno(), asked)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False


def _times(connection: socket.socket) -> tuple[float, float, float] | None:
    """Seconds since data was last sent, last received, and last confirmed; None where the kernel does not tell."""
    if not _IS_LINUX:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _OFFSETS[-1] + 4)
        sent, received, confirmed = (struct.unpack_from("I", info, at)[0] / 1000 for at in _OFFSETS)
    except (OSError, struct.error):
        return None
    return sent, received, confirmed
