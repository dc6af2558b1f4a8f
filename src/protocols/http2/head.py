"""From a header block's fields to a request (RFC 9113 sections 8.2 and 8.3).

What HTTP/2 alone forbids is a :class:`StreamFault`; what HTTP/1.1 refuses, too, is a :class:`BadRequest` and gets an answer.
"""

from __future__ import annotations

import re

from ...errors import BadRequest
from ..asgi import Field
from ..http1.codec import TOKEN
from ..http1.grammar import interpret
from ..limits import Limits
from ..memory import remember
from ..request import RequestHead, Terms, split_target
from .frames import PROTOCOL_ERROR, StreamFault

URGENCY = 3
"""The urgency of a request that states none, from 0 to 7; 0 is the most urgent (RFC 9218 section 4.1)."""

_NAME = re.compile(TOKEN)
_UPPER = re.compile(rb"[A-Z]")
_VALUE = re.compile(rb"(?![ \t])[\t -~\x80-\xff]*(?<![ \t])")
_TARGET = re.compile(rb"/[!-~]*|\*")
_PLAIN_TARGET = re.compile(rb"/[!-\"$-~]*")
"""A target that needs no check but that of its length."""
_LONGEST = 2048
"""Bytes of a head that is remembered; longer ones are few."""
_MOST = 16
"""Heads, without their paths, that a connection remembers: 32 KiB at most."""
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_LONGEST_PRIORITY = 256
"""Bytes of a Priority field's value that is read. Longer ones tell nothing new, and cost time."""
_URGENCY = re.compile(rb"(?:^|,)[ \t]*u=([0-7])[ \t]*(?:;[^,]*)?(?=,|$)")
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_FORBIDDEN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Fields of one connection of HTTP/1.1 (section 8.2.2)."""
_TERMS = {
    (proxied, expects, websocket): Terms("2", proxied=proxied, expect_continue=expects, websocket=websocket)
    for proxied in (False, True)
    for expects in (False, True)
    for websocket in (False, True)
}


class Request:
    """What a header block says of its request. Several requests may share one object, so it is never changed."""

    __slots__ = ("head", "length", "protocol", "urgency")

    def __init__(self, head: RequestHead, length: int | None, urgency: int, protocol: str) -> None:
        self.head = head
        self.length = length
        """Bytes that the body is said to have; None if that is not said."""
        self.urgency = urgency
        self.protocol = protocol
        """What is to be spoken on the stream instead of HTTP (RFC 8441); most often empty."""


def read_request(fields: list[Field], size: int, limits: Limits) -> Request:
    """The request that ``fields`` make. ``size``: bytes of them, of which only as many are there as ``limits`` allow.

    Raises :class:`StreamFault` and :class:`BadRequest`.
    """
    if size > limits.head:
        raise BadRequest(431, "request head too large")
    pseudo, headers = _split(fields)
    if len(headers) > limits.header_count:
        raise BadRequest(431, "too many headers")
    if max((len(name) + len(value) for name, value in headers), default=0) + 4 > limits.field_size:
        raise BadRequest(431, "header too large")
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    protocol = pseudo.get(b":protocol", b"")
    if len(method) + len(target) + len(" HTTP/1.1") + 1 > limits.request_line:
        raise BadRequest(414, "request line too long")
    _check_pseudo(pseudo)
    length, headers = _interpret_fields(pseudo, headers)
    # A request for a WebSocket has the method CONNECT; otherwise the rules for GET hold.
    head = interpret(b"GET" if protocol else method, target, b"1.1", headers)
    expects = head.terms.expect_continue or _expects(headers, length)
    terms = _TERMS[head.terms.proxied, expects, protocol == b"websocket"]
    head = RequestHead(head.method, head.target, head.parts, head.headers, head.length, terms)
    return Request(head, length, _urgency_of(headers), protocol.decode("ascii"))


class RequestLane:
    """Reads a connection's requests, and only checks the path of one that differs from an earlier one in nothing else.

    It spares such a request nine tenths of the checks, some 15 microseconds. What it remembers goes with the connection.
    """

    __slots__ = ("_known", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[tuple[object, ...], Request] = {}
        """By all fields but the path, and the path's place among them."""

    def read(self, fields: list[Field], size: int) -> Request:
        """As :func:`read_request`."""
        if size > _LONGEST:
            return read_request(fields, size, self._limits)
        place = next((place for place, field in enumerate(fields) if field[0] == b":path"), None)
        if place is None:
            return read_request(fields, size, self._limits)
        target = fields[place][1]
        key = place, *fields[:place], *fields[place + 1 :]
        known = self._known.get(key)
        if known is None or not _PLAIN_TARGET.fullmatch(target) or len(target) + _LONGEST > self._limits.request_line:
            request = read_request(fields, size, self._limits)
            remember(self._known, key, request, _MOST)
            return request
        head = known.head
        head = RequestHead(head.method, target, split_target(target), head.headers, head.length, head.terms)
        return Request(head, known.length, known.urgency, known.protocol)

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()


def check_trailers(fields: list[Field]) -> None:
    """Trailers are checked like headers, and have no pseudo-fields. Applications don't get them. Raises StreamFault."""
    pseudo, _ = _split(fields)
    if pseudo:
        raise _malformed("a pseudo-field in trailers")


def parse_urgency(value: bytes) -> int | None:
    """``u`` of a Priority field's value (RFC 9218 section 4); None if it is not told, malformed or far too long."""
    if len(value) > _LONGEST_PRIORITY:
        return None
    found = _URGENCY.findall(value)
    return int(found[-1]) if found else None


def _malformed(reason: str) -> StreamFault:
    return StreamFault(PROTOCOL_ERROR, reason)


def _split(fields: list[Field]) -> tuple[dict[bytes, bytes], list[Field]]:
    """Pseudo-fields, which stand first, and the others, each of them checked."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[Field] = []
    for field in fields:
        name, value = field
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise _malformed(f"pseudo-field {name!r:.40} is unknown, or comes twice or too late")
            pseudo[name] = value
            continue
        if not _NAME.fullmatch(name) or _UPPER.search(name):
            raise _malformed("a field's name is no token in lower case")
        if not _VALUE.fullmatch(value):
            raise _malformed("a field's value has control characters, or white space around it")
        headers.append(field)
    return pseudo, headers


def _check_pseudo(pseudo: dict[bytes, bytes]) -> None:
    """Section 8.3.1, and for ``:protocol`` RFC 8441 section 4."""
    method = pseudo.get(b":method", b"")
    if not _NAME.fullmatch(method):
        raise _malformed(":method is missing or no token")
    if method == b"CONNECT" and b":protocol" not in pseudo:
        if b":path" in pseudo or b":scheme" in pseudo or b":authority" not in pseudo:
            raise _malformed("CONNECT with :path or :scheme, or without :authority")
        raise BadRequest(501, "CONNECT is not supported")
    if b":protocol" in pseudo and (method != b"CONNECT" or not _NAME.fullmatch(pseudo[b":protocol"])):
        raise _malformed(":protocol without CONNECT, or no token")
    if not _SCHEME.fullmatch(pseudo.get(b":scheme", b"")):
        raise _malformed(":scheme is missing or malformed")
    if not _TARGET.fullmatch(pseudo.get(b":path", b"")) or (pseudo[b":path"] == b"*" and method != b"OPTIONS"):
        raise _malformed(":path is missing or malformed")


def _interpret_fields(pseudo: dict[bytes, bytes], headers: list[Field]) -> tuple[int | None, list[Field]]:
    """The body's length, and the fields as an application gets them: Host from ``:authority``, and one Cookie.

    A Host that names another than ``:authority`` is malformed (section 8.3.1): two recipients could serve two sites.
    """
    length: int | None = None
    crumbs: list[bytes] = []
    found: list[Field] = []
    authority = pseudo.get(b":authority", b"")
    if authority:
        found.append((b"host", authority))
    for field in headers:
        name, value = field
        if name in _FORBIDDEN or (name == b"te" and value.lower() != b"trailers"):
            raise _malformed(f"{name.decode('ascii')} belongs to a connection of HTTP/1.1")
        if name == b"cookie":
            crumbs.append(value)
            if len(crumbs) > 1:
                continue
        elif name == b"content-length":
            if length is not None or not _LENGTH.fullmatch(value):
                raise _malformed("Content-Length is not one plain number")
            length = int(value)
        elif name == b"host" and authority:
            if value.lower() != authority.lower():
                raise _malformed("Host and :authority differ")
            continue
        found.append(field)
    if len(crumbs) > 1:
        # Section 8.2.3: they were cut so that each could be compressed.
        at = next(at for at, (name, _) in enumerate(found) if name == b"cookie")
        found[at] = (b"cookie", b"; ".join(crumbs))
    return length, found


def _expects(headers: list[Field], length: int | None) -> bool:
    """Whether the client waits to be asked for a body whose length it does not tell."""
    return length is None and any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def _urgency_of(headers: list[Field]) -> int:
    told = b",".join(value for name, value in headers if name == b"priority")
    found = parse_urgency(told) if told else None
    return URGENCY if found is None else found
