"""The pieces of a message that are there already."""

from __future__ import annotations

_MANY = 1024


class Pieces:
    """Keeps them in little memory until the message is whole, however long its end is withheld.

    A text is kept as UTF-8, since one emoji makes four bytes of each character of a ``str``; and small pieces are joined, since
    an object of one byte or two takes twenty times their memory.
    """

    def __init__(self, is_text: bool) -> None:
        self._is_text = is_text
        self._joined: list[bytes] = []
        self._recent: list[bytes] = []

    def add(self, piece: str | bytes) -> None:
        """Whole characters, or bytes; of a text, bytes that are known to be UTF-8 are taken, too."""
        if piece:
            self._recent.append(piece.encode() if isinstance(piece, str) else piece)
            if len(self._recent) == _MANY:
                self._joined.append(b"".join(self._recent))
                self._recent.clear()

    def whole(self) -> str | bytes:
        """The message that the pieces make. Raises UnicodeDecodeError for a text that is not UTF-8."""
        message = b"".join(self._joined + self._recent)
        return message.decode() if self._is_text else message
