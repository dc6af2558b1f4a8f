"""Text from other processes, made fit for the log: bounded, with nothing in it that a terminal or a reader of lines obeys."""

from __future__ import annotations

LINE, LINES = 500, 16384
"""Characters of what stands in one line of the log (a reason, a path), and of what may fill many (a traceback)."""


def one_line(text: str, most: int = LINE) -> str:
    """``text`` in one line of at most about ``most`` characters, before they are escaped."""
    return _escape(_shorten(text, most, " [...] "), kept="")


def many_lines(text: str, most: int = LINES) -> str:
    """The same, but its line breaks stay."""
    return _escape(_shorten(text, most, "\n[...]\n"), kept="\n")


def _shorten(text: str, most: int, gap: str) -> str:
    """Leave out what is too much; of a traceback the end says more than the beginning."""
    if len(text) <= most:
        return text
    head = most // 4
    return text[:head] + gap + text[len(text) - (most - head) :]


def _escape(text: str, kept: str) -> str:
    """Write what is not printable as Python does: control characters, terminals' escapes, changes of the reading direction."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode("ascii") for char in text
    )
