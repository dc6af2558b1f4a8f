"""What the admin process answers from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ..ipc.address import Address
from ..metrics.gather import Facts


class Source(Protocol):
    """A view of the fleet. Times are seconds of CLOCK_MONOTONIC."""

    def status(self, now: float) -> dict[str, Any]:
        """What ``tricornctl status --json`` says."""

    def facts(self, queues: Mapping[str, int], memory: float | None, cpu: float | None, now: float) -> Facts:
        """What the metrics are made of; queues, memory and CPU time are measured by the caller."""

    def trouble(self, now: float) -> str:
        """Why the server is not alive; empty if it is."""

    def unready(self, now: float) -> str:
        """Why the server is not ready for clients; empty if it is."""

    def pids(self) -> list[int]:
        """The supervisor and all workers."""

    def listeners(self) -> Iterable[Address]:
        """Where the workers' listeners listen."""

    def events(self) -> list[dict[str, Any]]:
        """The last lines of the log, oldest first: ``time`` (of the wall clock), ``level``, ``text``."""
