"""How willing an HTTP/2 connection is to serve."""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """How willing the connection is to serve; it only ever goes down."""

    OPEN = auto()
    LEAVING = auto()
    """The client was told that we leave, and may not have heard of it yet: requests are still taken."""
    LEFT = auto()
    """The client was told which stream is the last: later ones are refused."""
    LINGER = auto()
    """All is written; input is thrown away so that the client can read it."""
    CLOSED = auto()


OPEN, LEAVING, LEFT, LINGER, CLOSED = Phase
