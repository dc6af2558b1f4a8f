"""What was found out once and is looked up from then on, within bounds."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(known: dict[K, V], key: K, value: V, most: int) -> None:
    """Add to ``known``; when that has ``most`` entries all are forgotten first, so that nobody can fill the memory."""
    if len(known) >= most:
        known.clear()
    known[key] = value
