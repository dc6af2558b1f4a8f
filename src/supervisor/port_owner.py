"""Which program has a TCP port that is in use, and which port is free instead: for the message only."""

from __future__ import annotations

import errno
import socket

MAX_TRIED = 20
"""Ports above the wanted one that are tried."""


def explain(host: str, port: int) -> str:
    """The message for a ``port`` of ``host`` that is in use: by which program, if that can be seen, and what to try."""
    owner = _owner(port)
    free = _free_above(host, port)
    return f"port {port} is in use by {owner}" + (f"; try --port {free}" if free is not None else "")


def _owner(port: int) -> str:
    """The program that listens on ``port``, such as ``python3 [4711]``."""
    # Late, because only this message needs it.
    import psutil

    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid:
                return f"{psutil.Process(one.pid).name()} [{one.pid}]"
    except (psutil.Error, OSError):
        # Another user's processes are not shown everywhere.
        pass
    return "another program"


def _free_above(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + MAX_TRIED, 65536)):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host.strip("[]") or None, candidate, type=socket.SOCK_STREAM
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(0)
                return candidate
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None
    return None
