"""When a transport that is being closed can be let go."""

from __future__ import annotations

import asyncio
import select

LOOK = 2.0
"""Seconds that a client gets to close its side of TLS, too."""


def next_look(transport: asyncio.Transport, now: float, until: float) -> float:
    """When to look at the closed ``transport`` again: at the end, ``until``, or sooner under TLS.

    There asyncio waits for the client's closing alert, which many clients send only when they use the connection the next time
    (RFC 8446 section 6.1 asks nobody to wait for it).
    """
    return until if transport.can_write_eof() else min(until, now + LOOK)


def is_over(transport: asyncio.Transport, now: float, until: float) -> bool:
    """Whether nothing can be gained by waiting: the time is up, or all has been sent."""
    return now >= until or (not transport.can_write_eof() and _has_sent_all(transport))


def _has_sent_all(transport: asyncio.Transport) -> bool:
    """Under TLS a transport tells only of what is not encrypted yet; what is waits for a socket that takes no more."""
    if transport.get_write_buffer_size():
        return False
    try:
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLOUT)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
