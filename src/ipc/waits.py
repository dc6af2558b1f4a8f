"""What a process that is to end still waits for, as values and in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.frozen import Value

PATIENCE = 1.5
"""Seconds that a stop or a reload waits without a word: an ordinary request takes less, and each worker has told by then."""
MAX_NAME = 100
"""Characters of a request's name: a line of the log holds two."""


class Waits(Value):
    """What one process waits for; with neither requests nor connections, for the application's shutdown."""

    requests: int
    """In flight."""
    oldest: str
    """Method and path of the oldest of them, without its query; empty if there is none."""
    age: float
    """Seconds since that one began."""
    connections: int
    """Open, with or without requests."""


def name_request(text: str) -> str:
    """The name of a request for people: without query, short, and without what is not to be printed."""
    shown = "".join(char if char.isprintable() else "?" for char in text.partition("?")[0][: MAX_NAME + 1])
    return shown if len(shown) <= MAX_NAME else f"{shown[:MAX_NAME]}..."


def describe(all_waits: Sequence[Waits]) -> str:
    """One phrase for what several processes wait for, of which there is at least one: ``1 request (GET /stream, 4 s)``."""
    requests = sum(waits.requests for waits in all_waits)
    connections = sum(waits.connections for waits in all_waits)
    if requests:
        first = max((waits for waits in all_waits if waits.requests), key=lambda waits: waits.age)
        oldest = f"{name_request(first.oldest)}, {first.age:.0f} s"
        return f"1 request ({oldest})" if requests == 1 else f"{requests} requests (the oldest: {oldest})"
    if connections:
        return f"{connections} {'connection' if connections == 1 else 'connections'}"
    return "the application's shutdown"
