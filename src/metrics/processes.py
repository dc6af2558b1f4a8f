"""What the system tells of processes and listeners: memory, CPU time, waiting connections."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable

_NETLINK_SOCK_DIAG, _BY_FAMILY, _REQUEST_DUMP, _DONE, _ERROR = 4, 20, 0x301, 3, 2
_LISTEN = 1 << 10
"""sock_diag(7): the state TCP_LISTEN, which UNIX sockets have as well."""
_SHOW_NAME, _SHOW_QUEUE = 0x1, 0x10
"""sock_diag(7): UDIAG_SHOW_NAME and UDIAG_SHOW_RQLEN."""
_NAME, _QUEUE = 0, 4
"""UNIX_DIAG_NAME and UNIX_DIAG_RQLEN."""


def memory_of(pids: Iterable[int]) -> float | None:
    """Bytes that the processes use. What they share counts once (PSS) where that can be read. None if nothing can be."""
    total, is_known = 0, False
    for pid in pids:
        size = _pss(pid)
        if size is None:
            size = _rss(pid)
        if size is not None:
            total, is_known = total + size, True
    return float(total) if is_known else None


def _pss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _rss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def cpu_of(supervisor: int, others: Iterable[int]) -> float | None:
    """Seconds of CPU time of all processes, with those of the supervisor's children that are gone. None if unknown."""
    ticks = 0
    for pid in (supervisor, *others):
        fields = stat_of(pid)
        if len(fields) < 15:
            if pid == supervisor:
                return None
            continue
        # proc(5): behind the name utime, stime, cutime and cstime are the 12th to the 15th field.
        ticks += sum(map(int, fields[11:15]))
    return float(ticks) / os.sysconf("SC_CLK_TCK")


def stat_of(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the name, which may hold anything (proc(5)): the state is the first of them.

    Empty if the process is gone, or the system has no ``/proc``.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def accept_queues(listeners: Iterable[str]) -> dict[str, int]:
    """Connections that wait to be accepted, by listener (its URL), as far as the kernel tells (sock_diag(7))."""
    try:
        tcp = {**_tcp_queues(socket.AF_INET), **_tcp_queues(socket.AF_INET6)}
        unix = _unix_queues()
    except (OSError, AttributeError, struct.error):
        # Another system, or a sandbox.
        return {}
    found: dict[str, int] = {}
    for url in listeners:
        place, _, note = url.partition(" ")
        address = place.partition("://")[2]
        if url.startswith("unix:"):
            waiting = unix.get(url.removeprefix("unix:"))
            address = url
        else:
            host, _, port = address.rpartition(":")
            host = host.strip("[]").partition("%")[0]
            if note:
                # It listens on all addresses, and people are shown one that they can open.
                host = "::" if ":" in host else "0.0.0.0"
            waiting = tcp.get((host, int(port)))
        if waiting is not None:
            found[address] = waiting
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
