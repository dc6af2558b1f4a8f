"""The socket through which a service tells systemd its state (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

SILENCE = 60_000_000
"""Microseconds: far more than the new program needs to begin."""


class NotifySocket:
    """Takes its address from ``NOTIFY_SOCKET`` in ``environ``; without that, nothing is sent."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables out of ``environ``: systemd waits for this process, not for the programs that it starts."""
        path = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        wanted = environ.pop("WATCHDOG_PID", str(os.getpid()))
        self.variables = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": period, "WATCHDOG_PID": wanted} if path else {}
        """What was taken out of the environment: for a program that is executed in our place."""
        # An address that begins with @ is an abstract one (unix(7)).
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if path else None
        self.watchdog_period = int(period) / 2e6 if path and period.isdigit() and wanted == str(os.getpid()) else None
        """Seconds between two signs of life, half of what systemd allows; None if it waits for none."""

    @property
    def is_open(self) -> bool:
        """Whether systemd asked to be told."""
        return self._socket is not None

    def allow_silence(self, wanted: bool = True) -> None:
        """Let systemd wait longer for signs of life, while another program takes our place; or not longer than usual again."""
        if self.watchdog_period is not None:
            self.say("WATCHDOG=1", f"WATCHDOG_USEC={SILENCE if wanted else int(self.watchdog_period * 2e6)}")

    def say(self, *lines: str) -> None:
        """Send one message; does nothing if systemd does not listen."""
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            # It does not listen any more.
            return

    def close(self) -> None:
        """Send nothing any more."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
