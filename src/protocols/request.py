"""A request's head as the exchange needs it, whichever version of HTTP it came in."""

from __future__ import annotations

from .asgi import Fields

Parts = tuple[str, bytes, bytes]
"""A target as an ASGI scope has it: ``path`` with percent-encodings decoded, ``raw_path``, ``query_string``."""


def decode_path(path: bytes) -> str:
    """A path of ASCII with its percent-encodings decoded."""
    text = path.decode("ascii")
    if "%" not in text:
        return text
    # Imported late: few requests need it, and the start should not wait for it.
    from urllib import parse

    return parse.unquote(text)


def split_target(target: bytes) -> Parts:
    """The target's parts. ``target``: ``/path?query`` in ASCII, or ``*``."""
    path, _, query = target.partition(b"?")
    return decode_path(path), path, query


class Terms:
    """What a head says of the connection, and what is unusual about the request. Many heads share one: never changed.

    Neither this nor the head is a dataclass: making those two classes would take a fifth of our part of the start-up.
    """

    __slots__ = ("expect_continue", "keep_alive", "proxied", "version", "websocket")

    def __init__(
        self,
        version: str = "1.1",
        keep_alive: bool = True,
        proxied: bool = False,
        expect_continue: bool = False,
        websocket: bool = False,
    ) -> None:
        self.version = version
        """``1.0`` or ``1.1``."""
        self.keep_alive = keep_alive
        """Whether the client lets the connection persist (RFC 9112 section 9.3)."""
        self.proxied = proxied
        """Whether there are fields by which a proxy names its client."""
        self.expect_continue = expect_continue
        """Whether the client may wait to be asked for the body (RFC 9110 section 10.1.1)."""
        self.websocket = websocket
        """Whether Upgrade names WebSocket among the protocols that the client would rather speak (RFC 9110 section 7.8)."""


PLAIN = Terms()


class RequestHead:
    """A request head: parsed, checked and interpreted. Requests may share one, so it is never changed."""

    __slots__ = ("headers", "length", "method", "parts", "target", "terms")

    def __init__(
        self, method: str, target: bytes, parts: Parts, headers: Fields, length: int | None = 0, terms: Terms = PLAIN
    ) -> None:
        self.method = method
        self.target = target
        """Origin-form (``/path?query``) or ``*``; an absolute-form target is already reduced to it."""
        self.parts = parts
        self.headers = headers
        """Applications are given a copy."""
        self.length = length
        """Bytes of the body; None when its end shows only when it comes."""
        self.terms = terms

    def with_terms(self, terms: Terms) -> RequestHead:
        """The same request on other terms."""
        return RequestHead(self.method, self.target, self.parts, self.headers, self.length, terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestHead) and other._fields() == self._fields()

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return f"RequestHead({self._fields()})"

    def _fields(self) -> dict[str, object]:
        own = {"method": self.method, "target": self.target, "parts": self.parts, "length": self.length}
        return own | {"headers": list(self.headers)} | {name: getattr(self.terms, name) for name in Terms.__slots__}
