"""Bounded memories of results that are looked up instead of computed again."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(known: dict[K, V], key: K, value: V, limit: int) -> None:
    """Add an entry to ``known``. If there are ``limit`` entries, all are dropped first, so that no client can fill the
    memory."""
    if len(known) >= limit:
        known.clear()
    known[key] = value
