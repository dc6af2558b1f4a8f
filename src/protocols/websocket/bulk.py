"""The fast lane's long messages: the payload of one frame, read as it arrives; only its head had to be plain."""

from __future__ import annotations

from codecs import utf_8_decode
from typing import final

from .frames import BAD_PAYLOAD, Violation
from .masking import unmask
from .pieces import Pieces


@final
class Bulk:
    """A text or binary message, uncompressed, in one frame whose payload is not all there yet."""

    def __init__(self, size: int, key: bytes, is_text: bool) -> None:
        """``size``: bytes of the payload; ``key``: its mask."""
        self._missing = size
        self._key = key
        self._is_text = is_text
        self._cut = b""
        """The beginning of a character whose other bytes are yet to come."""
        self._pieces = Pieces(is_text)

    def take(self, data: bytes, start: int) -> tuple[str | bytes | Violation | None, int]:
        """Read what there is of the payload from ``start`` on: the message, once it is whole, and where reading has ended.

        What can't be UTF-8 is found as it arrives.
        """
        masked = data[start : start + self._missing]
        size = len(masked)
        end = start + size
        self._missing -= size
        plain = unmask(masked, self._key)
        self._key = self._key[size % 4 :] + self._key[: size % 4]
        if self._is_text:
            try:
                self._check(self._cut + plain)
            except UnicodeDecodeError:
                return Violation(BAD_PAYLOAD, "invalid payload"), end
        self._pieces.add(plain)
        return (None if self._missing else self._pieces.whole()), end

    def _check(self, plain: bytes) -> None:
        """Raises UnicodeDecodeError."""
        _, used = utf_8_decode(plain, "strict", not self._missing)
        self._cut = plain[used:]
