"""What an HTTP/1.1 connection is busy with."""

from enum import Enum, auto


class Phase(Enum):
    """What is done with bytes that arrive, and what a deadline means, depends on the phase."""

    IDLE = auto()
    """Waiting for a request."""
    HEAD = auto()
    """A part of a request's head has arrived."""
    EXCHANGE = auto()
    """A request is being answered."""
    DISCARD = auto()
    """The response is complete; the rest of the request's body is thrown away before the next head."""
    LINGER = auto()
    """The last response is written; input is thrown away so that the client can read it."""
    BROKEN = auto()
    """A response broke off, and only a reset can say so; the client takes first what was written."""
    CLOSED = auto()


# Bound once: each look-up of an enumeration's member costs as much as a call.
IDLE, HEAD, EXCHANGE, DISCARD, LINGER, BROKEN, CLOSED = Phase
