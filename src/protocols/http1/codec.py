"""What every codec makes: the head of a request, or a complaint.

A codec is a function from the bytes of one whole request head, final empty line included, to a :class:`RequestHead`. It raises
:class:`BadRequest`; it owns no transport, clock or task. Bodies are framed in framing.py, once for all codecs.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..asgi import Fields

Parts = tuple[str, bytes, bytes]
"""A target as an ASGI scope has it: ``path`` with percent-encodings decoded, ``raw_path``, ``query_string``."""


def decode_path(path: bytes) -> str:
    """A path of ASCII with its percent-encodings decoded."""
    text = path.decode("ascii")
    if "%" not in text:
        return text
    # Late, for nobody's start should wait for what few requests need.
    from urllib import parse

    return parse.unquote(text)


def split_target(target: bytes) -> Parts:
    path, _, query = target.partition(b"?")
    return decode_path(path), path, query


class Terms:
    """What a head says of the connection, and what is unusual about the request. Shared among heads: never changed.

    Neither this nor the head is a dataclass, whose making would be a fifth of what a start costs beside the libraries.
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
        """Whether there are fields by which a proxy tells for whom it asks."""
        self.expect_continue = expect_continue
        """Whether the client may wait to be asked for the body (RFC 9110 section 10.1.1)."""
        self.websocket = websocket
        """Whether Upgrade names WebSocket among the protocols that the client would rather speak (RFC 9110 section 7.8)."""


PLAIN = Terms()


class RequestHead:
    """A request head as the exchange needs it: parsed, checked and interpreted. It may be shared: not to be changed."""

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
        """Bytes of the body; None when it is chunked."""
        self.terms = terms

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestHead) and other._fields() == self._fields()

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return f"RequestHead({self._fields()})"

    def _fields(self) -> dict[str, object]:
        own = {"method": self.method, "target": self.target, "parts": self.parts, "length": self.length}
        return own | {"headers": list(self.headers)} | {name: getattr(self.terms, name) for name in Terms.__slots__}


Codec = Callable[[bytes], RequestHead]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""RFC 9110 section 5.6.2."""

_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?")


def is_host(value: bytes) -> bool:
    """Whether ``value`` is a host with an optional port, as in Host (RFC 9110 section 7.2, RFC 3986 section 3.2).

    Stricter than the grammar in what no host that can be asked for has: it is not empty, has none of the sub-delimiters (such
    as a comma), its port is below 65536, and what stands in brackets is an IPv6 address.
    """
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or 0) > 65535:
        return False
    if match[1] is not None:
        # Late, for hardly a client asks so.
        import ipaddress

        try:
            ipaddress.IPv6Address(match[1].decode("ascii"))
        except ValueError:
            return False
    return True
