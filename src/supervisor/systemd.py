"""Tells systemd how the fleet is: ready, reloading, stopping, alive (sd_notify(3)).

Like the fleet itself, it looks at how things are and not at what has just happened: what differs from what was told last is
told.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from .fleet import Fleet
from .notify_socket import NotifySocket
from .phases import RUNNING, Phase


class Herald:
    """Tells nothing where nobody listens. Times are seconds of CLOCK_MONOTONIC."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._socket = NotifySocket(environ)
        self.due: float | None = None
        """When to look again, though nothing has happened."""
        self._told = ""
        self._status = ""

    def look(self, fleet: Fleet, now: float) -> None:
        """Tell what has changed."""
        if not self._socket.is_open:
            return
        state = self._state_of(fleet)
        if state != self._told:
            self._told = state
            self._socket.say(*self._announcement(state, now))
        ready = sum(1 for worker in fleet.workers.values() if worker.standing is Phase.READY)
        status = f"STATUS={ready} of {fleet.size} workers ready"
        if status != self._status:
            self._status = status
            self._socket.say(status)
        period = self._socket.watchdog_period
        if period is not None and (self.due is None or self.due <= now):
            self.due = now + period
            self._socket.say("WATCHDOG=1")

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

    def close(self) -> None:
        self._socket.close()


def earlier(one: float | None, other: float | None) -> float | None:
    """The earlier of two times, of which either may never come."""
    return other if one is None else one if other is None else min(one, other)
