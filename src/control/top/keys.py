"""From the bytes that a terminal sends to the names of keys. Pure."""

from __future__ import annotations

import re

SEQUENCES = {
    b"A": "up",
    b"B": "down",
    b"H": "home",
    b"F": "end",
    b"1~": "home",
    b"4~": "end",
    b"5~": "page up",
    b"6~": "page down",
    b"D": "escape",
}
"""What follows ``ESC [`` or ``ESC O`` (xterm's control sequences); the left arrow goes back, as Escape does."""
PATTERN = re.compile(rb"\x1b[\[O]([0-9;]*[~A-Za-z])|\x1b(?![\[O])|\x1b$|[^\x1b]", re.DOTALL)
NAMES = {b"\r": "enter", b"\n": "enter", b" ": "space", b"\x1b": "escape", b"\x7f": "escape", b"\x0c": "redraw"}


def read_keys(data: bytes) -> list[str]:
    """The keys that were pressed, in order; those without a meaning here are left out.

    A terminal sends the sequence of a key in one piece.
    """
    keys = []
    for found in PATTERN.finditer(data):
        typed = found[0]
        is_sequence = found[1] is not None
        keys.append(SEQUENCES.get(found[1], "") if is_sequence else NAMES.get(typed, typed.decode("ascii", "ignore")))
    return [key for key in keys if key]
