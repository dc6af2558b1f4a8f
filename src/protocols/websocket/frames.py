"""What readers make of the bytes that arrive, and the bytes of what the server sends, written once for all readers.

A reader is to WebSocket what a codec is to HTTP: from bytes to events, without transport, clock or task. Whole messages are
events of the types ``str`` and ``bytes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping, to be answered by a pong with the same payload (RFC 6455 section 5.5.2)."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The client's closing frame. ``code`` is 1005 if it had none (RFC 6455 section 7.1.5)."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The client has broken the protocol, or sent more than it may: nothing after it is read."""

    code: int
    """What the server closes with: 1002, 1007 or 1009 (RFC 6455 section 7.4.1)."""
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message was read, and more is to come. It only tells how much was read."""


PART = Part()
Event = str | bytes | Ping | Pong | Close | Violation | Part


class Reader(Protocol):
    """Reads the frames of one client."""

    def take(self, data: bytes) -> str | bytes | None:
        """Bytes have arrived. If they are one message and nothing else, and nothing is unread, they may be read at once;
        otherwise None, and they are fed."""

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""

    def next(self) -> Event | None:
        """The next event; None until more is fed. Events are pulled one by one, so what is not asked for stays unread bytes."""

    def close(self) -> None:
        """The connection is lost: let go of all, so that no cycle of references keeps it. Called last."""


NO_STATUS = 1005
ABNORMAL = 1006
PROTOCOL_ERROR = 1002
BAD_PAYLOAD = 1007
TOO_BIG = 1009
_LOCAL = (NO_STATUS, ABNORMAL, 1015)

TEXT = 0x81
BINARY = 0x82
COMPRESSED = 0x40
_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A
_TEXT_HEADS = [bytes((TEXT, size)) for size in range(126)]
_BINARY_HEADS = [bytes((BINARY, size)) for size in range(126)]


def text(payload: bytes) -> bytes:
    """A whole text message; ``payload`` is UTF-8."""
    return _TEXT_HEADS[len(payload)] + payload if len(payload) < 126 else frame(TEXT, payload)


def binary(payload: bytes) -> bytes:
    """A whole binary message."""
    return _BINARY_HEADS[len(payload)] + payload if len(payload) < 126 else frame(BINARY, payload)


def frame(first: int, payload: bytes) -> bytes:
    """One unmasked frame; ``first`` is FIN, the reserved bits and the opcode (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), payload)


def ping(payload: bytes) -> bytes:
    """A ping; ``payload`` has 125 bytes at most."""
    return frame(_PING, payload)


def pong(payload: bytes) -> bytes:
    """The answer to a ping with this ``payload``."""
    return frame(_PONG, payload)


def close(code: int, reason: str = "") -> bytes:
    """A closing frame; codes that never go on the wire are left away, and a long reason is cut (RFC 6455 section 5.5.1)."""
    if code in _LOCAL:
        return frame(_CLOSE, b"")
    # The cut may fall inside a character, which then has to go too.
    cut = reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")
    return frame(_CLOSE, code.to_bytes(2, "big") + cut.encode("utf-8"))


def may_be_sent(code: int) -> bool:
    """Whether an endpoint may close with ``code`` (RFC 6455 section 7.4.2; 1012 to 1014 are in IANA's registry)."""
    return code in (1000, 1001, 1002, 1003) or 1007 <= code <= 1014 or 3000 <= code <= 4999
