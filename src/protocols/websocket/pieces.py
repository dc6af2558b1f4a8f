"""The pieces of a message that are there already."""

from __future__ import annotations

from typing import Any

_MANY = 1024


class Pieces:
    """Keeps them in few objects, however small they are: an object of one byte or two takes twenty times their memory."""

    def __init__(self, nothing: str | bytes) -> None:
        """``nothing``: an empty string of the pieces' type."""
        self._nothing: Any = nothing
        self._joined: list[Any] = []
        self._recent: list[Any] = []

    def add(self, piece: str | bytes) -> None:
        if piece:
            self._recent.append(piece)
            if len(self._recent) == _MANY:
                self._joined.append(self._nothing.join(self._recent))
                self._recent.clear()

    def whole(self) -> str | bytes:
        message: str | bytes = self._nothing.join(self._joined + self._recent)
        return message
