"""What the control socket is told of the workers' processes."""

from __future__ import annotations

from collections.abc import Collection

from ...ipc.counts import Counts
from ...ipc.scoreboard import Row
from ..host import Host
from ..inspector import Receiver
from ..stalls import Blocked


class Workers:
    """The worker processes of a host, for :class:`~tricorn.supervisor.control.status.Supervised`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def pid_of(self, worker: int) -> int | None:
        """The pid of a worker; None if it is gone."""
        child = self._host.children.get(worker)
        return child.pid if child is not None else None

    def template_pid(self, template: int) -> int | None:
        """The pid of a template; None if it is gone."""
        templates = self._host.sources.templates
        return templates.pid_of(template) if templates is not None else None

    def row_of(self, worker: int) -> Row | None:
        """A worker's row of the scoreboard; None if it is gone."""
        child = self._host.children.get(worker)
        return self._host.scoreboard.row(child.row) if child is not None else None

    def durations_of(self, worker: int) -> list[float] | None:
        """How many of its responses took how long, by ``BOUNDS`` of ``ipc/counts.py``; None if it is gone."""
        child = self._host.children.get(worker)
        return self._host.scoreboard.counts.read([child.row]).durations() if child is not None else None

    def blocked(self, worker: int, now: float) -> Blocked | None:
        """What keeps its event loop from turning, if that lasts longer than ``--report-stalls``."""
        return self._host.children.stalls.blocked(worker, now)

    def counts(self) -> Counts:
        """The sum of what all workers have counted, also those that are gone."""
        counts = self._host.scoreboard.counts
        total = counts.read(child.row for child in self._host.children.values())
        total.add_all(counts.departed)
        return total

    def inspect(self, workers: Collection[int], stacks: bool, answer: Receiver) -> bool:
        """Ask ``workers`` what they are doing; ``answer`` is called within 0.2 s, from ``Host.wait``.

        ``stacks``: not only for their requests. Returns False, and asks nobody, if there are too many questions at once.
        """
        children = [child for child in self._host.children.values() if child.worker in workers]
        return self._host.children.inspector.ask(children, stacks, answer)
