"""How far a request and its response are."""

from enum import Enum, auto


class Phase(Enum):
    """How far the response is."""

    EXPECTED = auto()
    """Nothing sent by the application yet."""
    STARTED = auto()
    """``http.response.start`` received and held back: the head goes out with the first body message."""
    STREAMING = auto()
    """The head is on the wire, and the body goes out as it is."""
    CHUNKING = auto()
    """The head is on the wire, and the body goes out in chunks."""
    SENDFILE = auto()
    """The head is on the wire, and a file goes out as the body."""
    TRAILING = auto()
    """The body is on the wire, trailers are to follow."""
    COMPLETE = auto()
    GONE = auto()
    """The connection was lost, or the application gave up, before the response was complete: nothing can be sent."""


class Intake(Enum):
    """How far the request's body is."""

    WITHHELD = auto()
    """The client may be waiting to be asked for it (Expect: 100-continue)."""
    COMING = auto()
    WHOLE = auto()
    """It has arrived to its end."""
    TAKEN = auto()
    """``receive`` has handed out the end."""


# Bound once: each look-up of an enumeration's member costs as much as a call, and a request makes twenty.
EXPECTED, STARTED, STREAMING, CHUNKING, SENDFILE, TRAILING, COMPLETE, GONE = Phase
WITHHELD, COMING, WHOLE, TAKEN = Intake
UNSENT = EXPECTED, STARTED
"""Nothing of the response is on the wire: another can be sent in its place."""
WHEN = {
    EXPECTED: "before 'http.response.start'",
    STARTED: "twice",
    STREAMING: "twice",
    CHUNKING: "twice",
    SENDFILE: "while a file is sent",
    TRAILING: "after the body was complete",
    COMPLETE: "after the response was complete",
}
"""What an application is told of a message that does not fit the phase."""
