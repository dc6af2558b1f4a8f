"""Tells systemd how the fleet is: ready, reloading, stopping, alive (sd_notify(3))."""

from __future__ import annotations

import os

from .notify_socket import NotifySocket
from .snapshot import Snapshot


class SystemdNotifier:
    """An observer that tells systemd through ``notify_socket``; without systemd it does nothing."""

    def __init__(self, notify_socket: NotifySocket) -> None:
        self._socket = notify_socket
        self.due: float | None = None
        """When to send the next sign of life."""
        self.told = ""
        """The state that was told last."""
        self.is_upgrading = False
        """Whether the supervisor is about to be replaced: to systemd that is a reload, too."""
        self._status = ""

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Tell what has changed, and that we live."""
        if not self._socket.is_open:
            return
        state = self._state_of(snapshot)
        if state != self.told:
            self.told = state
            self._socket.say(*self._announcement(state, now))
        status = f"STATUS={snapshot.ready} of {snapshot.wanted} workers ready"
        if status != self._status:
            self._status = status
            self._socket.say(status)
        period = self._socket.watchdog_period
        if period is not None and (self.due is None or self.due <= now):
            self.due = now + period
            self._socket.say("WATCHDOG=1")

    def _state_of(self, snapshot: Snapshot) -> str:
        if not snapshot.is_running:
            return "STOPPING"
        if self.told in ("READY", "RELOADING"):
            return "RELOADING" if self.is_upgrading or snapshot.plan is not snapshot.settled else "READY"
        return "READY" if snapshot.is_complete else ""

    def _announcement(self, state: str, now: float) -> list[str]:
        lines = [f"{state}=1"]
        if state == "READY":
            lines.append(f"MAINPID={os.getpid()}")
        elif state == "RELOADING":
            # With Type=notify-reload systemd compares it with the time at which it sent the signal.
            lines.append(f"MONOTONIC_USEC={int(now * 1e6)}")
        return lines
