"""The report in which a worker says what it is doing: a text, of which some lines can be read. Pure.

Neither queries nor headers or bodies are written: they may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..config.frozen import Value
from .text import many_lines, one_line

LOOP_TURNS = "The event loop turns."
"""The line before what a worker writes when it is asked; what a signal makes it write stands before that line, or alone."""
BEGINNING = "Request in flight: "
MAX_LISTED = 1000
"""Requests that a report lists, the oldest first: more than anybody reads, and some milliseconds' work to read."""
LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen ")
"""What the paths of Python's own modules and of installed packages have in them."""
MAX_PLACES = 200
"""Frames of a thread that are looked at; faulthandler writes 100."""
MAX_AGE = 2.0**40
"""Seconds. An age that is longer was made up."""


class InFlight(Value):
    """One request, or one WebSocket."""

    method: str
    """``WebSocket`` for a WebSocket."""
    path: str
    """Without the query."""
    client: str
    """``HOST:PORT``, or what the access log has in its place."""
    age: float
    """Seconds, exact to a second."""


class Report(Value):
    """What one worker is doing."""

    loop_turns: bool
    """Whether its event loop has answered. If not, a signal made it write, and it may have written only a part."""
    requests: tuple[InFlight, ...] = ()
    """The oldest requests in flight, the oldest first."""
    text: str = ""
    """All that it wrote, bounded and without control characters, but for line breaks; empty if it did not answer at all."""
    line: str = ""
    """Where the main thread is, as ``FILE:LINE FUNCTION``; empty if the event loop turns, or the worker does not say."""


def read_report(text: str, limit: int) -> Report:
    """The report of a file in which a signal, the event loop, or one after the other has made the worker write.

    ``limit`` is for the characters of its text.
    """
    before, marker, after = text.partition(f"{LOOP_TURNS}\n")
    whole = (after if marker else before).strip("\n")
    return Report(bool(marker), tuple(_read_requests(whole)), many_lines(whole, limit), "" if marker else _line_of(whole))


def _line_of(text: str) -> str:
    """Where the main thread is. What the application calls is seldom what is wrong, so that is left out if it can be."""
    places = _places_of_current_thread(text)
    return next((place for place in places if not any(part in place for part in LIBRARIES)), places[0] if places else "")


def _places_of_current_thread(text: str) -> list[str]:
    """The places of the thread that got the signal, the innermost first, as faulthandler writes them."""
    _, begins, rest = text.partition("Current thread ")
    places = []
    for line in rest.split("\n", MAX_PLACES + 1)[1:-1] if begins else ():
        name, separator, place = line.strip().removeprefix('File "').partition('", line ')
        if not separator:
            break
        places.append(one_line(f"{name}:{place.replace(' in ', ' ', 1)}"))
    return places


def write_request(request: InFlight) -> str:
    """One line of a report."""
    path = one_line(request.path.partition("?")[0])
    return f"{BEGINNING}{request.method} {path} ({request.age:.0f} s, from {request.client or '-'})"


def _read_requests(text: str) -> Iterator[InFlight]:
    """The requests of a report. It may hold anything, so lines that make no sense are left out."""
    count = 0
    for line in text.splitlines():
        if line.startswith(BEGINNING) and count < MAX_LISTED and (request := _read_request(line)) is not None:
            count += 1
            yield request


def _read_request(line: str) -> InFlight | None:
    method, _, rest = line.removeprefix(BEGINNING).partition(" ")
    path, _, details = rest.rpartition(" (")
    age, separator, client = details.partition(" s, from ")
    if not (method and path and separator and age.isdecimal() and client.endswith(")")):
        return None
    seconds = float(age[:20])
    if seconds > MAX_AGE:
        return None
    # Two escapings make no difference where the worker has done one.
    return InFlight(one_line(method, 40), one_line(path.partition("?")[0]), one_line(client[:-1], 100), seconds)
