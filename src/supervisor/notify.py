"""Tells systemd how the fleet is: ready, reloading, stopping, alive (sd_notify(3)).

Like the fleet itself, it looks at how things are and not at what has just happened: what differs from what was told last is
told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from .fleet import Fleet
from .phases import RUNNING, Phase


class Herald:
    """Without ``NOTIFY_SOCKET`` in the environment it does nothing. Times are seconds of CLOCK_MONOTONIC."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables away: what the workers run is not what systemd waits for."""
        path = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        wanted = environ.pop("WATCHDOG_PID", str(os.getpid()))
        # An address that begins with @ is one of Linux' abstract ones.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if path else None
        self._period = int(period) / 2e6 if path and period.isdigit() and wanted == str(os.getpid()) else None
        self.due: float | None = None
        """When to look again, though nothing has happened."""
        self._told = ""
        self._status = ""

    def look(self, fleet: Fleet, now: float) -> None:
        """Tell what has changed."""
        if self._socket is None:
            return
        state = self._state_of(fleet)
        if state != self._told:
            self._told = state
            self._say(*self._announcement(state, now))
        ready = sum(1 for worker in fleet.workers.values() if worker.standing is Phase.READY)
        status = f"STATUS={ready} of {fleet.size} workers ready"
        if status != self._status:
            self._status = status
            self._say(status)
        if self._period is not None and (self.due is None or self.due <= now):
            self.due = now + self._period
            self._say("WATCHDOG=1")

    def _state_of(self, fleet: Fleet) -> str:
        if fleet.stage not in RUNNING:
            return "STOPPING"
        served = {worker.slot for worker in fleet.workers.values() if worker.standing is Phase.READY}
        if self._told in ("READY", "RELOADING"):
            return "READY" if fleet.plan is fleet.settled else "RELOADING"
        return "READY" if served.issuperset(range(fleet.size)) else ""

    def _announcement(self, state: str, now: float) -> list[str]:
        lines = [f"{state}=1"]
        if state == "READY":
            lines.append(f"MAINPID={os.getpid()}")
        elif state == "RELOADING":
            # With Type=notify-reload systemd compares it with the time at which it has sent the signal.
            lines.append(f"MONOTONIC_USEC={int(now * 1e6)}")
        return lines

    def _say(self, *lines: str) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            # Nobody listens any more.
            return

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def earlier(one: float | None, other: float | None) -> float | None:
    """The earlier of two times, of which either may never come."""
    return other if one is None else one if other is None else min(one, other)
