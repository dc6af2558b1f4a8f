"""Random numbers. Decisions get them passed in, so that a test can repeat them."""

from __future__ import annotations


def chance() -> float:
    """A random number from 0 to 1."""
    # Late, because it is needed only after a crash.
    import random

    return random.random()
