"""The control socket's address, version and bounds, which the supervisor and ``tricornctl`` share. It imports little.

docs/control.md says what is said on the socket.

An address is text: ``@tricorn/<pid>`` is the abstract socket of a supervisor (unix(7)), anything else the path of a file.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Mapping

VERSION = 1
"""The version of what is said. A supervisor of another version can't be understood."""
MAX_REQUEST = 4096
"""Bytes of one request with its newline. The longest that makes sense has some hundred."""
PREFIX = "@tricorn/"
"""How the abstract address of a supervisor begins; its pid follows."""
FILE = "tricorn-{pid}.sock"
"""The name of the file where there are no abstract sockets."""
DEBUGGING = ("PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONTRACEMALLOC", "PYTHONMALLOC")
"""Variables that make Python check or record what it does (python(1)). PYTHONMALLOC does so only if it says ``debug``."""
EXAMINED = ("INVOCATION_ID", "KUBERNETES_SERVICE_HOST", *DEBUGGING)
"""Variables of its environment that a supervisor tells ``tricornctl doctor``: setproctitle spoils what /proc says of them."""

_XUCRED = struct.Struct("=II")
"""How ``struct xucred`` begins on macOS and FreeBSD: version, user (sys/ucred.h)."""
_LOCAL_PEERCRED = 1
"""From sys/un.h; its level is SOL_LOCAL, 0."""


def has_abstract() -> bool:
    """Whether the system has sockets without a file: only Linux does."""
    return sys.platform == "linux"


def default_address(pid: int, environ: Mapping[str, str] = os.environ) -> str:
    """The address of the supervisor ``pid``, if its operator has chosen none."""
    return f"{PREFIX}{pid}" if has_abstract() else os.path.join(directories(environ)[0], FILE.format(pid=pid))


def directories(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Where the files of supervisors are, the preferred one first."""
    # tempfile.gettempdir would write a file to find out.
    found = [environ.get("XDG_RUNTIME_DIR", ""), environ.get("TMPDIR", ""), "/tmp"]
    return [path for path in dict.fromkeys(found) if path and os.path.isdir(path)] or ["/tmp"]


def socket_address(address: str) -> str:
    """``address`` as :meth:`socket.socket.bind` and ``connect`` take it."""
    return f"\0{address[1:]}" if address.startswith("@") and has_abstract() else address


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """The pid and the user at the other end of a connected UNIX socket; the pid is 0 where the system does not tell it.

    Of a connection to a listener it is the process that began to listen (SO_PEERCRED, unix(7)). Raises OSError.
    """
    if hasattr(socket, "SO_PEERCRED"):
        pid, user, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid, user
    _, user = _XUCRED.unpack_from(connection.getsockopt(0, _LOCAL_PEERCRED, 128))
    return 0, user
