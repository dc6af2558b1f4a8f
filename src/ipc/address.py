"""Where a listener listens, as a value that other processes can be told."""

from __future__ import annotations

import os
import socket
from typing import Any

from ..config.frozen import Value


class Address(Value):
    """Where a listener listens."""

    host: str
    """An IP address, or the path of a UNIX socket, as the kernel has it."""
    port: int | None = None
    """None for a UNIX socket."""

    @property
    def label(self) -> str:
        """What names the listener in the metrics."""
        if self.port is None:
            # As ss(8) shows an abstract name (unix(7)), and without the bytes that are no UTF-8.
            path = self.host.replace("\0", "@").encode("utf-8", "replace").decode("utf-8")
            return f"unix:{path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(listener: socket.socket) -> Address:
    """Where ``listener`` listens."""
    name: Any = listener.getsockname()
    return Address(os.fsdecode(name)) if listener.family == socket.AF_UNIX else Address(name[0], name[1])
