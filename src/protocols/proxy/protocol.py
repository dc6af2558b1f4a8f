"""The PROXY protocol, versions 1 and 2: the header with which a proxy begins a connection, to say for which client it is.

Without a byte of I/O. Source: "The PROXY protocol", HAProxy's doc/proxy-protocol.txt, sections 2.1 (the line of version 1) and
2.2 (the binary version 2).
"""

from __future__ import annotations

import ipaddress
import re
import struct

from .crc32c import crc32c
from .headers import Address, Origin

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LINE = b"PROXY "
LONGEST_LINE = 107
"""Bytes of a line with its end, in version 1; section 2.1 works it out."""
LONGEST = 4096
"""Bytes of a header of version 2 with its additions: what proxies send is well below 1 KiB."""
HEAD = 16

_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_LOCAL, _PROXY = 0, 1
_UNSPECIFIED = 0x00
_ADDRESSES = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH"), 0x31: struct.Struct("!108s108s")}
"""Families with SOCK_STREAM: IPv4, IPv6, UNIX. HTTP/1.1 does not come as datagrams."""
_UNIX = 0x31
_CHECKSUM = 0x03
_TLS = 0x20
_TLS_CLIENT = 0x01


class ProxyError(Exception):
    """The peer's fault: this is no header of the PROXY protocol. The text says why."""


class HeaderReader:
    """Takes a header in any split. It never takes more than the header: what follows is another protocol's."""

    def __init__(self) -> None:
        self._data = b""
        self.complete = False
        self.origin: Origin | None = None
        """Once complete: the client of the connection; None if it is the proxy itself, or not told."""

    def feed(self, data: bytes) -> int:
        """Take what of ``data`` belongs to the header; returns how many bytes that are. Raises ProxyError."""
        held = len(self._data)
        self._data += data
        end = find_end(self._data)
        if end is None:
            return len(data)
        header = self._data[:end]
        self.complete = True
        self.origin = _parse_binary(header) if header[:1] == b"\r" else _parse_line(header)
        return end - held


def find_end(data: bytes) -> int | None:
    """Where the header at the start of ``data`` ends; None while that can't be told. Raises ProxyError if it is none."""
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        if len(data) < HEAD:
            return None
        size = HEAD + int.from_bytes(data[14:16], "big")
        if size > LONGEST:
            raise ProxyError(f"header of {size} bytes")
        return size if len(data) >= size else None
    if data[: len(LINE)] == LINE[: len(data)]:
        end = data.find(b"\r\n", 0, LONGEST_LINE)
        if end < 0 and len(data) >= LONGEST_LINE:
            raise ProxyError("line without end")
        return end + 2 if end >= 0 else None
    raise ProxyError("no PROXY header")


def _parse_line(line: bytes) -> Origin | None:
    if _UNKNOWN.fullmatch(line):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProxyError("malformed PROXY line")
    kind = ipaddress.IPv4Address if match[1] == b"TCP4" else ipaddress.IPv6Address
    ends: list[Address] = []
    for host, port in ((match[2], match[4]), (match[3], match[5])):
        try:
            ends.append((str(kind(host.decode("ascii"))), int(port)))
        except ValueError:
            raise ProxyError("malformed address in the PROXY line") from None
        if int(port) > 65535:
            raise ProxyError("malformed port in the PROXY line")
    return Origin(ends[0], ends[1])


def _parse_binary(header: bytes) -> Origin | None:
    version, command, family = header[12] >> 4, header[12] & 15, header[13]
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise ProxyError(f"unknown version or command 0x{header[12]:02x}")
    if command == _LOCAL:
        # The proxy's own connection, such as a health check: whatever else the header says is to be ignored.
        return None
    if family == _UNSPECIFIED:
        return None
    layout = _ADDRESSES.get(family)
    if layout is None:
        raise ProxyError(f"unknown address family 0x{family:02x}")
    if len(header) < HEAD + layout.size:
        raise ProxyError("addresses cut off")
    secure = _read_additions(header, HEAD + layout.size)
    if family == _UNIX:
        return Origin(None, None, secure)
    source, target, source_port, target_port = layout.unpack_from(header, HEAD)
    client, server = (str(ipaddress.ip_address(host)) for host in (source, target))
    return Origin((client, source_port), (server, target_port), secure)


def _read_additions(header: bytes, at: int) -> bool:
    """Check the type-length-value vectors from ``at`` on (section 2.2); whether they tell of TLS between client and proxy."""
    secure = False
    while at < len(header):
        value = at + 3
        end = value + int.from_bytes(header[at + 1 : value], "big")
        if value > len(header) or end > len(header):
            raise ProxyError("additions cut off")
        if header[at] == _TLS:
            if end - value < 5:
                raise ProxyError("additions cut off")
            secure = bool(header[value] & _TLS_CLIENT)
        elif header[at] == _CHECKSUM and header[value:end] != _checksum(header, value, end):
            raise ProxyError("wrong checksum")
        at = end
    return secure


def _checksum(header: bytes, start: int, end: int) -> bytes:
    """What has to stand between ``start`` and ``end`` (section 2.2.3): the CRC32c of the header with zeros in that place."""
    return crc32c(header[:start] + bytes(4) + header[end:]).to_bytes(4, "big")
