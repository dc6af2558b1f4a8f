"""The fast lane: plain, well-formed requests, parsed in a few microseconds; of anything else it says "not mine".

It must never accept what the reference (h11 behind grammar.py's strict rules) refuses or reads differently; declining is
always right. So its grammar is a strict subset: a usual method, a target in origin-form, HTTP/1.1, exact CRLFs, one
Host, at most one Content-Length and Content-Type, and no field that changes framing or the connection's meaning but
``Connection: keep-alive`` or ``close``.

A client sends the same header lines with every request, but for some: so what was found valid once is looked up, not parsed.
:class:`HeadCache` is what all connections share, and :class:`Lane` what a connection keeps of its own client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..asgi import Field
from ..memory import remember
from ..proxy.headers import FIELDS as PROXY_FIELDS
from ..request import PLAIN, RequestHead, Terms, split_target
from .codec import TOKEN, is_host

_METHODS = {name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
_CONTROLS = frozenset((*range(0x09), *range(0x0A, 0x20), 0x7F))
_UNCONTROLLED = bytes(0xFF - code if code in _CONTROLS else code for code in range(256))
"""For ``bytes.translate``: changes control characters and nothing else."""
_TARGET = bytes(code if 0x20 < code < 0x7F and code != 0x23 else 0xFF - code for code in range(256))
"""For ``bytes.translate``: leaves alone what may stand in a target, and changes all else, ``#`` included."""
_SLASH = 0x2F
_VERSION = b"HTTP/1.1\r\n"
_NAME = re.compile(TOKEN)
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
_HOST_NAME = b"host"
_LENGTH_NAME = b"content-length"
_TYPE_NAME = b"content-type"
_CONNECTION_NAME = b"connection"
_CHECKED = frozenset((_HOST_NAME, _LENGTH_NAME, _TYPE_NAME, _CONNECTION_NAME))
"""Names whose values decide whether a head is plain."""
_WATCHED = _CHECKED | PROXY_FIELDS
"""Names of fields that decide what a head means."""
_DECLINED = frozenset((b"transfer-encoding", b"transfer_encoding", b"content_length", b"upgrade", b"expect", b"te", b"trailer"))
MAX_HEAD = 16 * 1024
"""Bytes, as many as one line may have by default; longer heads are not plain, nor are those with more than ``MAX_FIELDS``."""
MAX_FIELDS = 100
_TERMS = {
    (True, False): PLAIN,
    (True, True): Terms(proxied=True),
    (False, False): Terms(keep_alive=False),
    (False, True): Terms(keep_alive=False, proxied=True),
}
"""By whether the connection persists, and whether a proxy tells of its client."""
HARMLESS = frozenset(
    (
        *_CHECKED,
        *(b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"cache-control", b"content-encoding"),
        *(b"content-language", b"device-memory", b"dnt", b"downlink", b"dpr", b"ect", b"keep-alive", b"origin", b"pragma"),
        *(b"priority", b"rtt", b"save-data", b"sec-gpc", b"sec-purpose", b"upgrade-insecure-requests", b"user-agent"),
        *(b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-storage-access", b"sec-fetch-user"),
        *(b"sec-ch-ua", b"sec-ch-ua-arch", b"sec-ch-ua-bitness", b"sec-ch-ua-form-factors", b"sec-ch-ua-full-version"),
        *(b"sec-ch-ua-full-version-list", b"sec-ch-ua-mobile", b"sec-ch-ua-model", b"sec-ch-ua-platform"),
        *(b"sec-ch-ua-platform-version", b"sec-ch-ua-wow64", b"sec-ch-prefers-color-scheme", b"sec-ch-prefers-reduced-motion"),
        *(b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-requested-with"),
    )
)
"""Names of fields that tell what a client is and can do, not who it is or what it may: the same lines come from thousands.

Origin is among them, since it says no more than a scheme and a host (RFC 6454 section 7.3); Referer is not."""
_MAX_LINE = 200
"""Bytes of a line, or of a connection's last head, that is remembered: longer ones are few."""
_MAX_LINES = 2048
"""Lines remembered; then all are forgotten, so that no client can fill the memory."""
_MAX_BLOCK = 1024
"""Bytes of a header block that is remembered, less what is private."""
_MAX_BLOCKS = 256

Around = tuple[bytes, bytes, bytes, int, int, tuple[Field, ...], bytes, tuple[Field, ...], int, Terms]
"""A header block less the value of its last private line: what comes up to the first private line's colon, from there to the
last one's, and from the last one's end on; the sizes of the first two together and of the third; the fields before it, its
name, those behind it; bytes of the body, and terms."""
Hole = tuple[bytes, bytes, tuple[Field, ...]]
"""A private line that others follow: its name; the bytes from its end up to the next one's colon; the fields of the lines
between the two."""
Shape = tuple[Around, tuple[Hole, ...]]
"""A header block less the values of all its private lines: what stands around them, without what stands among them; and all of
those lines but the last."""
Block = tuple[bytes, tuple[Field, ...], int, Terms, Shape | None]
"""What a header block means: its own bytes, or none if it is not remembered; fields, bytes of the body, terms; its shape, if it
has private lines and that is remembered."""

_NO_AROUND: Around = b"none", b"", b"", 4, 0, (), b"", (), 0, PLAIN
"""No block begins so."""
_NO_SHAPE: Shape = _NO_AROUND, ()
_NO_BLOCK: Block = b"none", (), 0, PLAIN, None
_NO_HEAD = RequestHead("GET", b"", ("", b"", b""), ())


class HeadCache:
    """What all connections of one worker remember of the heads they have read.

    - Bounded: whatever clients send, it takes no more than about a megabyte.
    - No secrets: there are lines whose names are :data:`HARMLESS`, blocks of nothing but such lines, and of others what stands
      around the values of all other lines. Of a request line there is nothing.
    - Shared are bytes, tuples and :class:`Terms`, which can't be changed or are not.

    Looking up spares a browser's request three quarters of its parsing.
    """

    __slots__ = ("_blocks", "_lines", "_shapes", "_watched_lines", "latest")

    def __init__(self) -> None:
        self._blocks: dict[bytes, Block] = {}
        """Blocks of harmless lines, from the version at the end of the request line on. A value has the key in it, so that
        connections share it."""
        self._shapes: dict[tuple[bytes, ...], Shape] = {}
        """By all their bytes."""
        self._lines: dict[bytes, Field] = {}
        """Harmless lines and their fields, but for those whose names are watched."""
        self._watched_lines: dict[bytes, Field] = {}
        """Harmless lines of watched names, and their fields."""
        self.latest = _NO_SHAPE
        """The shape found last: the next connection may well need the same."""

    def lane(self) -> Callable[[bytes], RequestHead | None]:
        """The fast lane of a new connection: :meth:`Lane.parse` of its own."""
        return Lane(self).parse

    def read(self, block: bytes) -> Block | None:
        """None to decline. A block begins with the version, as the end of the request line, and ends with an empty line."""
        return self._blocks.get(block) or self._parse(block)

    def _parse(self, block: bytes) -> Block | None:
        if not block.startswith(_VERSION) or not block.endswith(b"\r\n\r\n"):
            return None
        lines = block[len(_VERSION) : -4].split(b"\r\n")
        fields: list[Field] = []
        private: list[int] = []
        """Which lines are."""
        watched: list[Field] = []
        for line in lines:
            field = self._lines.get(line)
            if field is None:
                field = self._watched_lines.get(line)
                if field is None:
                    field = _parse_line(line)
                    if field is None:
                        return None
                    if field[0] in HARMLESS and len(line) <= _MAX_LINE:
                        remember(self._watched_lines if field[0] in _WATCHED else self._lines, line, field, _MAX_LINES)
                    else:
                        private.append(len(fields))
                if field[0] in _WATCHED:
                    watched.append(field)
            fields.append(field)
        meaning = _interpret(watched)
        if meaning is None or len(fields) > MAX_FIELDS:
            return None
        length, terms = meaning
        if private:
            return b"", tuple(fields), length, terms, self._shape_of(lines, private, tuple(fields), length, terms)
        if len(block) > _MAX_BLOCK:
            return b"", tuple(fields), length, terms, None
        found = block, tuple(fields), length, terms, None
        remember(self._blocks, block, found, _MAX_BLOCKS)
        return found

    def _shape_of(
        self, lines: Sequence[bytes], private: Sequence[int], fields: tuple[Field, ...], length: int, terms: Terms
    ) -> Shape | None:
        """The shape of a block of which the lines ``private`` are; None if it is not worth remembering."""
        ends = [line + b"\r\n" for line in lines]
        starts = [lines[at].partition(b":")[0] + b":" for at in private]
        first, last = private[0], private[-1]
        before = _VERSION + b"".join(ends[:first]) + starts[0]
        after = b"\r\n" + b"".join(ends[last + 1 :]) + b"\r\n"
        holes = tuple(
            (fields[at][0], b"\r\n" + b"".join(ends[at + 1 : to]) + start, fields[at + 1 : to])
            for at, to, start in zip(private, private[1:], starts[1:], strict=False)
        )
        key = before, after, *(hole[1] for hole in holes)
        if sum(map(len, key)) > _MAX_BLOCK or any(fields[at][0] in _CHECKED for at in private):
            return None
        shape = self._shapes.get(key)
        if shape is None:
            sizes = len(before), len(after)
            around = before, b"", after, *sizes, fields[:first], fields[last][0], fields[last + 1 :], length, terms
            shape = around, holes
            remember(self._shapes, key, shape, _MAX_BLOCKS)
        self.latest = shape
        return shape


class Lane:
    """One connection's way to read plain heads.

    It compares a head with the last ones of its client, which costs a third of looking up: with the last one without private
    lines, if that was short, and its header block; and with what stood around the last private line of the last one that had
    some, which most often was the cookie. Private lines among these belong to this connection only, and go with it.
    """

    __slots__ = ("_around", "_block", "_cache", "_head", "_raw", "_shape")

    def __init__(self, cache: HeadCache) -> None:
        self._cache = cache
        self._raw = b""
        self._head = _NO_HEAD
        self._block = _NO_BLOCK
        self._shape = cache.latest
        self._around = _NO_AROUND

    def parse(self, raw: bytes) -> RequestHead | None:
        """Parse one whole request head, final empty line included; None for one that is not plain.

        The same head may be returned again: it is not to be changed.
        """
        if raw == self._raw:
            return self._head
        size = len(raw)
        if size > MAX_HEAD:
            return None
        try:
            start, target, block = raw.split(b" ", 2)
        except ValueError:
            return None
        method = _METHODS.get(start)
        if method is None or not target or target[0] != _SLASH or target.translate(_TARGET) != target:
            return None
        path, _, query = target.partition(b"?")
        text = path.decode("ascii")
        # As split_target, but without a call in the case that comes most often: 1 % of a request.
        parts = (text, path, query) if "%" not in text else split_target(target)
        known = self._block
        if block != known[0]:
            around = self._around
            if block.startswith(around[0]):
                before, middle, after, begin, left, first, name, last, length, terms = around
                end = len(block) - left
                if begin <= end and block.endswith(after) and (not middle or block.startswith(middle, len(before))):
                    value = block[begin:end]
                    if value.translate(_UNCONTROLLED) == value:
                        return RequestHead(method, target, parts, [*first, (name, value.strip()), *last], length, terms)
            found = self._fill(block) or self._cache.read(block)
            if found is None:
                return None
            known = self._learn(found)
        _, headers, length, terms, _ = known
        head = RequestHead(method, target, parts, headers, length, terms)
        if size <= _MAX_LINE and known is self._block:
            self._raw, self._head = raw, head
        return head

    def _learn(self, found: Block) -> Block:
        """Keep what helps with the next head."""
        if found[4] is not None:
            self._shape = found[4]
        elif found[0]:
            self._block = found
        return found

    def _fill(self, block: bytes) -> Block | None:
        """What a block means that has the shape of the last one with private lines; None if it has another."""
        around, holes = self._shape
        if not block.startswith(around[0]):
            return None
        before, _, after, begin, left, first, name, last, length, terms = around
        end = len(block) - left
        if begin > end or block[end:] != after:
            return None
        rest = block[begin:end]
        fields = [*first]
        for its, mark, between in holes:
            value, found, rest = rest.partition(mark)
            if not found or value.translate(_UNCONTROLLED) != value:
                return None
            fields += (its, value.strip()), *between
        if rest.translate(_UNCONTROLLED) != rest:
            return None
        if holes:
            at = end - len(rest)
            around = before, block[begin:at], after, at, left, tuple(fields), name, last, length, terms
        self._around = around
        return b"", (*fields, (name, rest.strip()), *last), length, terms, None


def _interpret(watched: Sequence[Field]) -> tuple[int, Terms] | None:
    """Bytes of the body, and the terms, that the fields with watched names tell of; None if they are not plain."""
    length = 0
    lasting, proxied = True, False
    seen: set[bytes] = set()
    for name, value in watched:
        if name not in _CHECKED:
            proxied = True
            continue
        if name in seen:
            return None
        seen.add(name)
        if name == _LENGTH_NAME:
            length = int(value)
        elif name == _CONNECTION_NAME:
            lasting = value.lower() != b"close"
    return (length, _TERMS[lasting, proxied]) if _HOST_NAME in seen else None


def _parse_line(line: bytes) -> Field | None:
    """The field that ``line`` holds; None if it is not plain."""
    raw_name, colon, value = line.partition(b":")
    if not colon or not _NAME.fullmatch(raw_name) or value.translate(_UNCONTROLLED) != value:
        return None
    name = raw_name.lower()
    if name in _DECLINED:
        return None
    value = value.strip(b" \t")
    if name == _LENGTH_NAME:
        if not _NUMBER.fullmatch(value) or not line.endswith((b":" + value, b": " + value)):
            return None
    elif name == _HOST_NAME:
        if not is_host(value):
            return None
    elif name == _CONNECTION_NAME and value.lower() not in (b"keep-alive", b"close"):
        return None
    return name, value
