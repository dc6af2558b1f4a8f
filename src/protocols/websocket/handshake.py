"""The server's side of the opening handshake (RFC 6455 section 4.2), without a byte of I/O.

The request head has been parsed and checked already: what is left is to say whether it is a handshake, whether it is a right
one, and what it offers. Whether to accept it, and whether its Origin may come in, is the application's decision.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import AppError
from ..asgi import Field, Fields
from ..http1.codec import TOKEN
from ..request import RequestHead
from .deflate import Agreement, agree

VERSION = b"13"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKENS = re.compile(rb"%b(?:[ \t]*,[ \t]*%b)*" % (TOKEN, TOKEN))
_QUOTED = rb'"(?:[^"\\]|\\.)*"'
_PARAMETER = rb"[ \t]*;[ \t]*(%b)(?:[ \t]*=[ \t]*(%b|%b))?" % (TOKEN, TOKEN, _QUOTED)
_EXTENSION = re.compile(rb"[ \t]*(%b)((?:%b)*)[ \t]*(?:,|\Z)" % (TOKEN, _PARAMETER))
_PARAMETERS = re.compile(_PARAMETER)


@dataclass(frozen=True, slots=True)
class Offer:
    """A right handshake: what the client offers, and what the server has to answer if it accepts."""

    accept: bytes
    """The value of Sec-WebSocket-Accept; empty over HTTP/2, which has none."""
    subprotocols: list[str]
    """In the client's order of preference; the application may choose one."""
    deflate: Agreement | None
    """What permessage-deflate is agreed upon, if the server wants it and the client offers something it can do."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A wrong handshake: an HTTP response."""

    status: int
    reason: str
    """One line for the response's body."""
    extra: bytes = b""
    """Header lines, each with its CRLF."""


_NO_METHOD = Refusal(405, "a WebSocket handshake is a GET request", b"allow: GET\r\n")
_NO_VERSION = Refusal(
    426,
    "only WebSocket version 13 is spoken here",
    b"sec-websocket-version: 13\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
)
"""RFC 6455 section 4.4; Upgrade is what RFC 9110 section 15.5.22 asks of a 426."""


def negotiate(head: RequestHead, deflate: bool = True) -> Offer | Refusal | None:
    """What to answer to ``head``; None if it does not ask for WebSocket at all.

    ``deflate``: whether the server wants permessage-deflate.
    """
    if not head.terms.websocket:
        return None
    if head.method != "GET":
        return _NO_METHOD
    given = _collect(head.headers)
    version, key = given[b"sec-websocket-version"], given[b"sec-websocket-key"]
    if not version:
        return Refusal(400, "missing Sec-WebSocket-Version")
    if version != [VERSION]:
        return _NO_VERSION
    if head.terms.version == "2":
        # RFC 8441 section 5: there is none.
        key = []
    elif len(key) != 1 or not _is_key(key[0]):
        return Refusal(400, "Sec-WebSocket-Key is not one nonce of 16 bytes in base64")
    subprotocols = b",".join(given[b"sec-websocket-protocol"])
    if subprotocols and not _TOKENS.fullmatch(subprotocols):
        return Refusal(400, "malformed Sec-WebSocket-Protocol")
    extensions = _parse_extensions(b",".join(given[b"sec-websocket-extensions"]))
    if extensions is None:
        return Refusal(400, "malformed Sec-WebSocket-Extensions")
    return Offer(
        base64.b64encode(hashlib.sha1(key[0] + _GUID, usedforsecurity=False).digest()) if key else b"",
        [name.strip(" \t") for name in subprotocols.decode("ascii").split(",")] if subprotocols else [],
        agree(parameters for name, parameters in extensions if name == b"permessage-deflate") if deflate else None,
    )


_FIELDS = (b"sec-websocket-version", b"sec-websocket-key", b"sec-websocket-protocol", b"sec-websocket-extensions")


def _collect(headers: Fields) -> dict[bytes, list[bytes]]:
    given: dict[bytes, list[bytes]] = {name: [] for name in _FIELDS}
    for name, value in headers:
        if name in given:
            given[name].append(value)
    return given


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except binascii.Error:
        return False


Parameters = list[tuple[bytes, bytes | None]]


def _parse_extensions(value: bytes) -> list[tuple[bytes, Parameters]] | None:
    """The offers of Sec-WebSocket-Extensions in order (RFC 6455 section 9.1); None if it is malformed."""
    found: list[tuple[bytes, Parameters]] = []
    at = 0
    while at < len(value):
        match = _EXTENSION.match(value, at)
        if match is None:
            return None
        parameters: Parameters = []
        for parameter in _PARAMETERS.finditer(match[2]):
            text = parameter[2]
            if text is not None and text[:1] == b'"':
                text = re.sub(rb"\\(.)", rb"\1", text[1:-1])
            parameters.append((parameter[1], text))
        found.append((match[1], parameters))
        at = match.end()
    return found


_OURS = frozenset(
    (b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-version", b"sec-websocket-key", b"upgrade")
)


def answer(offer: Offer, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, Fields]:
    """The 101 response's own header lines, and those of ``headers`` that go with them.

    ``subprotocol`` and ``headers`` are what the application gave with ``websocket.accept``; a Sec-WebSocket-Protocol header is
    taken for a subprotocol, as some frameworks write it. An empty one means none, as on other servers: it could not be said
    (RFC 6455 section 4.2.2). Raises :class:`AppError` for what the handshake does not allow.
    """
    subprotocol = subprotocol or None
    extra: list[Field] = []
    for name, value in headers:
        lower = name.lower()
        if lower == b"sec-websocket-protocol":
            named = value.decode("latin-1").strip()
            if not named:
                continue
            if subprotocol not in (None, named):
                raise AppError(f"two subprotocols, {subprotocol!r} and {named!r}, where one can be accepted")
            subprotocol = named
        elif lower in _OURS:
            raise AppError(f"header {name!r} of 'websocket.accept' belongs to the server")
        else:
            extra.append((name, value))
    lines = b"upgrade: websocket\r\nconnection: upgrade\r\n"
    if offer.accept:
        lines += b"sec-websocket-accept: %b\r\n" % offer.accept
    if subprotocol is not None:
        # RFC 6455 section 4.2.2: a client has to fail a connection whose subprotocol it has not asked for.
        if subprotocol not in offer.subprotocols:
            raise AppError(f"subprotocol {subprotocol!r} is none of those that the client offers: {offer.subprotocols}")
        lines += b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("ascii")
    if offer.deflate is not None:
        lines += b"sec-websocket-extensions: %b\r\n" % offer.deflate.field()
    return lines, extra
