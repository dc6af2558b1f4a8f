"""What a process that must end still waits for, as values and in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.frozen import Value

PATIENCE = 1.5
"""Seconds after which a stop or a reload says what it waits for: ordinary requests take less, and each worker has told."""
MAX_NAME = 100
"""Characters of a request's name: a line of the log holds two."""


class Waits(Value):
    """What one process waits for. Without requests and connections it is the application's shutdown."""

    requests: int
    """In flight."""
    oldest: str
    """Method and path of the oldest request, without the query; empty if there is none."""
    age: float
    """Seconds since the oldest request began."""
    connections: int
    """Open, with or without requests."""


def name_request(text: str) -> str:
    """The name of a request for people: short, without the query and without what can't be printed."""
    shown = "".join(char if char.isprintable() else "?" for char in text.partition("?")[0][: MAX_NAME + 1])
    return shown if len(shown) <= MAX_NAME else f"{shown[:MAX_NAME]}..."


def describe(all_waits: Sequence[Waits]) -> str:
    """One phrase for what one or more processes wait for: ``1 request (GET /stream, 4 s)``."""
    requests = sum(waits.requests for waits in all_waits)
    connections = sum(waits.connections for waits in all_waits)
    if requests:
        first = max((waits for waits in all_waits if waits.requests), key=lambda waits: waits.age)
        oldest = f"{name_request(first.oldest)}, {first.age:.0f} s"
        return f"1 request ({oldest})" if requests == 1 else f"{requests} requests (the oldest: {oldest})"
    if connections:
        return f"{connections} {'connection' if connections == 1 else 'connections'}"
    return "the application's shutdown"
