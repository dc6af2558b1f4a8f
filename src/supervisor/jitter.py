"""Chance, which the decisions are given rather than take, so that a test can repeat them."""

from __future__ import annotations


def chance() -> float:
    """From 0 up to 1."""
    # Late, for it is first needed when something has crashed.
    import random

    return random.random()
