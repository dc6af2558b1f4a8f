"""Connections that wait to be accepted, by listener, as the kernel tells (sock_diag(7))."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable

from ..ipc.address import Address

_NETLINK_SOCK_DIAG, _BY_FAMILY, _REQUEST_DUMP, _DONE, _ERROR = 4, 20, 0x301, 3, 2
_LISTEN = 1 << 10
"""sock_diag(7): the state TCP_LISTEN, which UNIX sockets have as well."""
_SHOW_NAME, _SHOW_QUEUE = 0x1, 0x10
"""sock_diag(7): UDIAG_SHOW_NAME and UDIAG_SHOW_RQLEN."""
_NAME, _QUEUE = 0, 4
"""UNIX_DIAG_NAME and UNIX_DIAG_RQLEN."""


def accept_queues(listeners: Iterable[Address]) -> dict[str, int]:
    """Waiting connections by the listeners' labels, as far as the kernel tells."""
    try:
        tcp = {**_tcp_queues(socket.AF_INET), **_tcp_queues(socket.AF_INET6)}
        unix = _unix_queues()
    except (OSError, AttributeError, struct.error):
        # Another system, or a sandbox.
        return {}
    found: dict[str, int] = {}
    for listener in listeners:
        if listener.port is None:
            waiting = unix.get(listener.host)
        else:
            # The kernel's answers have the address without its scope.
            waiting = tcp.get((listener.host.partition("%")[0], listener.port))
        if waiting is not None:
            found[listener.label] = waiting
    return found


def _tcp_queues(family: int) -> dict[tuple[str, int], int]:
    """Waiting connections by address and port."""
    # struct inet_diag_req_v2: family, protocol, extensions, padding, states, and an empty id.
    request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, _LISTEN)
    size = 4 if family == socket.AF_INET else 16
    queues: dict[tuple[str, int], int] = {}
    for answer in _dump(request):
        # struct inet_diag_msg: family, state, timer, retries, the id (ports, the own address, ...), expiry, receive queue.
        place = socket.inet_ntop(family, answer[8 : 8 + size]), struct.unpack_from("!H", answer, 4)[0]
        queues[place] = queues.get(place, 0) + struct.unpack_from("=I", answer, 56)[0]
    return queues


def _unix_queues() -> dict[str, int]:
    """Waiting connections by path."""
    # struct unix_diag_req: family, protocol, padding, states, inode, what to show, cookie.
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _LISTEN, 0, _SHOW_NAME | _SHOW_QUEUE, 0, 0)
    queues: dict[str, int] = {}
    for answer in _dump(request):
        name, waiting, offset = b"", 0, 16
        while offset + 4 <= len(answer):
            length, kind = struct.unpack_from("=HH", answer, offset)
            if length < 4:
                break
            value = answer[offset + 4 : offset + length]
            if kind == _NAME:
                name = value.rstrip(b"\0")
            elif kind == _QUEUE:
                waiting = struct.unpack_from("=I", value)[0]
            offset += -(-length // 4) * 4
        queues[os.fsdecode(name)] = waiting
    return queues


def _dump(request: bytes) -> Iterable[bytes]:
    """The kernel's answers to a sock_diag request."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(1)
        link.send(struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + request)
        while True:
            data, offset = link.recv(65536), 0
            while offset + 16 <= len(data):
                length, kind = struct.unpack_from("=IH", data, offset)
                if kind == _ERROR:
                    raise OSError("the kernel does not tell")
                if kind == _DONE or length < 16:
                    return
                yield data[offset + 16 : offset + length]
                offset += -(-length // 4) * 4
