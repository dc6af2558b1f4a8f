"""The header lines that all responses of a worker have beside their own."""

from __future__ import annotations

from collections.abc import Callable


class Defaults:
    """Server, Date and the operator's lines; the worker's tick renews the Date."""

    __slots__ = ("_followers", "block", "date", "extra", "server")

    def __init__(self, server: bytes = b"server: tricorn\r\n", date: bytes = b"", extra: bytes = b"") -> None:
        self.server = server
        self.date = date
        self.extra = extra
        self.block = server + date + extra
        """All of them."""
        self._followers: list[Callable[[], None]] = []

    def renew(self, date: bytes) -> None:
        """Put a new Date into the block: ``date`` is the field's value (RFC 9110 section 5.6.7)."""
        self.date = b"date: %b\r\n" % date
        self.block = self.server + self.date + self.extra
        for renewed in self._followers:
            renewed()

    def follow(self, renewed: Callable[[], None]) -> None:
        """Call ``renewed`` now, and whenever :attr:`block` has changed."""
        self._followers.append(renewed)
        renewed()

    def without(self, given: set[bytes]) -> bytes:
        """The block less what the application gave itself."""
        server = b"" if b"server" in given else self.server
        return server + (b"" if b"date" in given else self.date) + self.extra
