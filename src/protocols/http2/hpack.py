"""HPACK (RFC 7541): header blocks to fields, and fields to header blocks.

It is our own, and the package ``hpack`` is the oracle of its tests: that one takes about 60 microseconds for a request's head,
which is six times what Tricorn spends on a whole request over HTTP/1.1.

The decoder has all of HPACK. The encoder never uses the dynamic table, so a field's encoding is the same on every connection
and at every time: response heads can be cached as bytes, as those of HTTP/1.1 are, and no table of a client takes memory.
"""

from __future__ import annotations

from typing import Any

from ..asgi import Field
from . import huffman

TABLE_SIZE = 4096
"""Bytes of the dynamic table that clients may use: the protocol's default (RFC 9113 section 6.5.2), which we leave as it is."""
_OVERHEAD = 32
"""What an entry of the table counts beyond its bytes (RFC 7541 section 4.1)."""
_LINE_OVERHEAD = 4
"""What a field counts beyond its bytes: those that HTTP/1.1 has around it, so that limits mean the same for both."""
_BOMB = 4
"""A block whose fields have so many times the size that a head may have is no mistake, but an attack."""
_MAX_INTEGER = 1 << 28
"""Larger than any size or index that is allowed. It bounds integers whose bytes do not end (RFC 7541 section 5.1)."""

STATIC: tuple[Field, ...] = (
    *((b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html")),
    *((b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206")),
    *((b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b"")),
    *((b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""), (b"accept", b"")),
    *((b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""), (b"authorization", b""), (b"cache-control", b"")),
    *((b"content-disposition", b""), (b"content-encoding", b""), (b"content-language", b""), (b"content-length", b"")),
    *((b"content-location", b""), (b"content-range", b""), (b"content-type", b""), (b"cookie", b""), (b"date", b"")),
    *((b"etag", b""), (b"expect", b""), (b"expires", b""), (b"from", b""), (b"host", b""), (b"if-match", b"")),
    *((b"if-modified-since", b""), (b"if-none-match", b""), (b"if-range", b""), (b"if-unmodified-since", b"")),
    *((b"last-modified", b""), (b"link", b""), (b"location", b""), (b"max-forwards", b""), (b"proxy-authenticate", b"")),
    *((b"proxy-authorization", b""), (b"range", b""), (b"referer", b""), (b"refresh", b""), (b"retry-after", b"")),
    *((b"server", b""), (b"set-cookie", b""), (b"strict-transport-security", b""), (b"transfer-encoding", b"")),
    *((b"user-agent", b""), (b"vary", b""), (b"via", b""), (b"www-authenticate", b"")),
)
"""The static table (appendix A); its first entry has the index 1."""
_FIRST_DYNAMIC = len(STATIC) + 1
_FIELDS = {field: index for index, field in reversed([*enumerate(STATIC, 1)])}
_NAMES = {name: index for index, (name, _) in reversed([*enumerate(STATIC, 1)])}
_SENSITIVE = frozenset((b"set-cookie", b"authorization", b"www-authenticate", b"proxy-authenticate"))
"""Names of fields with secrets: no intermediary may keep them in a table, where others could guess them (section 7.1.3)."""


class CompressionError(Exception):
    """The block is malformed: the client's table and ours differ from now on, so its connection is over."""


class HeaderBomb(Exception):
    """The block holds a multiple of what a head may."""


class Decoder:
    """One connection's decoder, with its dynamic table.

    Blocks that don't change the table mean the same as long as no other block changes it. So :attr:`memo` may keep what such
    blocks mean: it is emptied with every change.
    """

    __slots__ = ("_max_size", "_size", "_table", "changed", "memo")

    def __init__(self) -> None:
        self._table: list[Field] = []
        """The newest entry stands last."""
        self._size = 0
        self._max_size = TABLE_SIZE
        self.memo: dict[bytes, Any] = {}
        self.changed = False
        """The last block has changed the table."""

    def decode(self, block: bytes, limit: int) -> tuple[list[Field], int]:
        """The fields of a whole ``block``, and their size in bytes.

        Fields beyond ``limit`` bytes are not kept, but are counted: if the size is above the limit, fields are missing.
        Raises :class:`CompressionError`; :class:`HeaderBomb` beyond four times the limit.
        """
        fields: list[Field] = []
        size = at = 0
        end = len(block)
        self.changed = False
        try:
            while at < end:
                first = block[at]
                if first >= 0x80:
                    # An indexed field.
                    at += 1
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _more(block, at, index)
                    field = STATIC[index - 1] if 0 < index < _FIRST_DYNAMIC else self._entry(index)
                elif 0x20 <= first < 0x40:
                    if fields or size:
                        raise CompressionError("the table's size changes behind a field")
                    at = self._resize(block, at)
                    continue
                else:
                    field, at = self._literal(block, at, first)
                size += len(field[0]) + len(field[1]) + _LINE_OVERHEAD
                if size <= limit:
                    fields.append(field)
                elif size > _BOMB * limit:
                    raise HeaderBomb
        except IndexError:
            raise CompressionError("the block ends too soon") from None
        except ValueError as error:
            raise CompressionError(str(error)) from None
        return fields, size

    def _entry(self, index: int) -> Field:
        place = index - _FIRST_DYNAMIC
        if not 0 <= place < len(self._table):
            raise CompressionError("no such entry in the table")
        return self._table[-1 - place]

    def _literal(self, block: bytes, at: int, first: int) -> tuple[Field, int]:
        """The literal field at ``at``, and where the next one begins. It may go into the table."""
        prefix = 0x3F if first >= 0x40 else 0x0F
        index = first & prefix
        at += 1
        if index == prefix:
            index, at = _more(block, at, index)
        if index == 0:
            name, at = _string(block, at)
        else:
            name = STATIC[index - 1][0] if index < _FIRST_DYNAMIC else self._entry(index)[0]
        value, at = _string(block, at)
        field = name, value
        if first >= 0x40:
            self._insert(field)
        return field, at

    def _insert(self, field: Field) -> None:
        self.changed = True
        if self.memo:
            self.memo.clear()
        self._size += len(field[0]) + len(field[1]) + _OVERHEAD
        self._table.append(field)
        self._evict()

    def _evict(self) -> None:
        """Drop the oldest entries until the others fit. One that is larger than the table empties it (section 4.4)."""
        gone = 0
        while self._size > self._max_size:
            name, value = self._table[gone]
            self._size -= len(name) + len(value) + _OVERHEAD
            gone += 1
        if gone:
            del self._table[:gone]

    def _resize(self, block: bytes, at: int) -> int:
        size, at = block[at] & 0x1F, at + 1
        if size == 0x1F:
            size, at = _more(block, at, size)
        if size > TABLE_SIZE:
            raise CompressionError("the table is made larger than we allow")
        self.changed = True
        if self.memo:
            self.memo.clear()
        self._max_size = size
        self._evict()
        return at


def _more(block: bytes, at: int, value: int) -> tuple[int, int]:
    """An integer that did not fit into its prefix, all ones and ``value``; and where it ends. Raises IndexError, ValueError."""
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if value >= _MAX_INTEGER or shift > 28:
            raise ValueError("an integer is too large")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """A string, and where it ends. Raises IndexError, ValueError."""
    first = block[at]
    size, at = first & 0x7F, at + 1
    if size == 0x7F:
        size, at = _more(block, at, size)
    end = at + size
    if end > len(block):
        raise IndexError
    data = block[at:end]
    return (huffman.decode(data) if first >= 0x80 else data), end


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field; ``name`` is in lower case."""
    index = _FIELDS.get((name, value))
    if index is not None and value:
        return bytes((0x80 | index,))
    kind = 0x10 if name in _SENSITIVE else 0
    index = _NAMES.get(name)
    if index is None:
        return b"%c%b%b%b%b" % (kind, _integer(len(name), 0x7F), name, _integer(len(value), 0x7F), value)
    return b"%b%b%b" % (_integer(index, 0x0F, kind), _integer(len(value), 0x7F), value)


def _integer(value: int, prefix: int, kind: int = 0) -> bytes:
    """``value`` behind the bits ``kind``, in a first byte that has room for numbers up to ``prefix`` (section 5.1)."""
    if value < prefix:
        return bytes((kind | value,))
    found = bytearray((kind | prefix,))
    value -= prefix
    while value >= 0x80:
        found.append(0x80 | value & 0x7F)
        value >>= 7
    found.append(value)
    return bytes(found)
