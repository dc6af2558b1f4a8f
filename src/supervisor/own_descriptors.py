"""The descriptors that only the supervisor may hold.

A child must not keep any of them. If a child held an end of a channel, that would stay open when the supervisor dies, and the
process at the other end would not notice. The socket to systemd and the file with the lock do not concern a child either.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, TypeVar


class Closable(Protocol):
    """A socket, a file, an epoll object ..."""

    def close(self) -> None:
        """Close the descriptor; does nothing if it is closed."""


Kept = TypeVar("Kept", bound=Closable)


class OwnDescriptors:
    """What holds such descriptors, from its opening to its closing."""

    def __init__(self) -> None:
        self._all: dict[int, Closable] = {}

    def keep(self, opened: Kept) -> Kept:
        """Remember what was just opened, and give it back."""
        self._all[id(opened)] = opened
        return opened

    def close(self, opened: Closable) -> None:
        """Close and forget it; in the supervisor, or in a child that would keep it."""
        self._all.pop(id(opened), None)
        opened.close()

    def close_all(self, but: Collection[Closable] = ()) -> None:
        """In a process just forked: close all that is the supervisor's, ``but`` what the process needs."""
        kept = {id(opened) for opened in but}
        for opened in self._all.values():
            if id(opened) not in kept:
                opened.close()
        self._all.clear()
