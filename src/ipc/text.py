"""Text for people: of other processes, made fit for the log (bounded, without control characters); addresses in URLs."""

from __future__ import annotations

LINE, LINES = 500, 16384
"""Characters of a text for one line of the log (a reason, a path), and of one for many lines (a traceback)."""


WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses of listeners that mean all addresses, and what a client on the same machine can open instead."""


def url_host(host: str) -> str:
    """An IP address as the host of a URL for people: a wildcard becomes the loopback address, so it can be opened."""
    shown = WILDCARDS.get(host, host)
    return f"[{shown}]" if ":" in shown else shown


def one_line(text: str, limit: int = LINE) -> str:
    """``text`` in one line of about ``limit`` characters at most, before they are escaped."""
    return _escape(_shorten(text, limit, " [...] "), kept="")


def many_lines(text: str, limit: int = LINES) -> str:
    """The same, but line breaks stay."""
    return _escape(_shorten(text, limit, "\n[...]\n"), kept="\n")


def _shorten(text: str, limit: int, gap: str) -> str:
    """Leave out what is too much, in the middle: the end of a traceback says more than the beginning."""
    if len(text) <= limit:
        return text
    head = limit // 4
    return text[:head] + gap + text[len(text) - (limit - head) :]


def _escape(text: str, kept: str) -> str:
    """Write what is not printable as Python does: control characters, terminals' escapes, changes of the reading direction."""
    if text.isprintable():
        return text
    if kept:
        # Line by line, because most lines have nothing to escape: so a report of 128 KiB takes a millisecond, not forty.
        return kept.join(_escape(line, "") for line in text.split(kept))
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
