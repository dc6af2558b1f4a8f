"""The supervisor's side of the hook runner (see ``worker/hook_runner.py``): it forks the process and tells it what happens."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .. import hooks
from ..config.options import Config
from ..ipc.channel import Message, Table, encode
from ..worker import hook_runner
from .auxiliary import WORKER_EXIT, Auxiliaries
from .messages import Fact
from .phases import Stage
from .snapshot import Snapshot


class HookRunner:
    """The auxiliary that runs the fleet's hooks. It is wanted from the first ready worker on.

    A hook is called once or not at all: what a runner that dies had not read is lost.
    """

    name = "hook runner"
    lasting = True
    keeps = ()
    says: Table = {}

    def __init__(self, config: Config, listeners: tuple[socket.socket, ...]) -> None:
        self.wanted = False
        self.config = config
        """What the next process is born with."""
        self._listeners = listeners

    def main(self, link: socket.socket) -> int:
        """The process: call hooks until told to end."""
        for listener in self._listeners:
            # A process that holds it keeps the port.
            listener.close()
        return hook_runner.main(self.config, link)

    def hear(self, message: Message) -> list[Fact]:
        """The process says nothing."""
        return []

    def learn(self, message: Message) -> bytes | None:
        """What to tell the process of what happened to a worker: that it is gone."""
        if message["kind"] != WORKER_EXIT:
            return None
        return encode(hooks.ON_WORKER_EXIT, **{name: value for name, value in message.items() if name != "kind"})

    def died(self, now: float) -> None:
        """Nothing is kept for the next process."""


class HookObserver:
    """Has ``runner``, one of ``auxiliaries``, call the hooks for what changes in the fleet, which serves on ``addresses``."""

    due: float | None = None

    def __init__(self, runner: HookRunner, auxiliaries: Auxiliaries, addresses: list[str]) -> None:
        self._runner = runner
        self._auxiliaries = auxiliaries
        self._addresses = tuple(addresses)
        self._is_ready = self._is_stopping = self._is_stopped = False
        """What was told."""
        self._generation = 0
        """The generation that was told last."""

    def state(self) -> list[Any]:
        """What was told, fit for JSON. No stop was ordered."""
        return [self._is_ready, self._generation]

    def restore(self, state: Sequence[Any]) -> None:
        """Go on from this :meth:`state`."""
        self._is_ready, self._generation = state

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Tell the runner what has changed."""
        if self._is_stopped:
            return
        if snapshot.stage is Stage.SERVING:
            self._runner.wanted = True
        if not self._is_ready:
            self._is_ready = snapshot.is_running and snapshot.is_complete
            if self._is_ready:
                self._generation = snapshot.settled.generation
                self._tell(hooks.ON_FLEET_READY, snapshot)
        elif snapshot.settled.generation != self._generation:
            self._renew(snapshot)
            self._tell(hooks.ON_FLEET_RELOADED, snapshot)
        if self._is_ready and not self._is_stopping and not snapshot.is_running:
            self._is_stopping = True
            self._tell(hooks.ON_FLEET_STOPPING, snapshot)
        if snapshot.stage is Stage.FINISHED:
            self._is_stopped = True
            if self._is_ready:
                self._tell(hooks.ON_FLEET_STOPPED, snapshot)
            self._auxiliaries.bow_out(self._runner, encode(hook_runner.END), now)

    def _renew(self, snapshot: Snapshot) -> None:
        """After a reload a new process imports the functions afresh, as the workers do with the application."""
        self._generation, self._runner.config = snapshot.settled.generation, snapshot.settled.config
        self._auxiliaries.replace(self._runner, encode(hook_runner.END))

    def _tell(self, hook: str, snapshot: Snapshot) -> None:
        told = hooks.Fleet(os.getpid(), snapshot.wanted, snapshot.settled.generation, self._addresses)
        self._auxiliaries.post(self._runner, encode(hook, **asdict(told)))
