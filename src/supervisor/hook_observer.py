"""The hook runner (see worker/hook_runner.py), as the supervisor sees it: what it is told, and when.

Of the fleet it is told as systemd is (see notify.py): what differs from what was told last.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict

from .. import hooks
from ..config.options import Config
from ..ipc.channel import Message, Table, encode
from ..worker import hook_runner
from .auxiliary import Companions
from .child import Child
from .fleet import Fleet
from .messages import Fact
from .phases import RUNNING, Phase, Stage


class Hooking:
    """The companion that runs the fleet's hooks. It is wanted from the first ready worker on."""

    name = "hook runner"
    lasting = True
    due: float | None = None
    says: Table = {}

    def __init__(self, config: Config, listeners: tuple[socket.socket, ...], addresses: list[str]) -> None:
        self.wanted = False
        self.companions: Companions | None = None
        """Those of the host, once there is one."""
        self._config = config
        self._listeners = listeners
        self._addresses = tuple(addresses)
        self._is_ready = self._is_stopping = False
        """What was told."""
        self._generation = 0
        """The one told last."""

    def main(self, link: socket.socket) -> int:
        for listener in self._listeners:
            # Whoever holds it keeps the port.
            listener.close()
        return hook_runner.main(self._config, link)

    def hear(self, message: Message) -> list[Fact]:
        return []

    def learn(self, message: Message) -> bytes | None:
        return None

    def died(self, now: float) -> None:
        """What it had not read is lost: a hook is called once, or not at all."""

    def look(self, fleet: Fleet, now: float) -> None:
        """Tell what has changed."""
        if fleet.stage is Stage.SERVING:
            self.wanted = True
        if not self._is_ready:
            self._is_ready = self._is_complete(fleet)
            if self._is_ready:
                self._generation = fleet.settled.generation
                self._tell(hooks.ON_FLEET_READY, fleet)
        elif fleet.settled.generation != self._generation:
            self._renew(fleet)
            self._tell(hooks.ON_FLEET_RELOADED, fleet)
        if self._is_ready and not self._is_stopping and fleet.stage not in RUNNING:
            self._is_stopping = True
            self._tell(hooks.ON_FLEET_STOPPING, fleet)
        if fleet.stage is Stage.FINISHED and self.companions is not None:
            if self._is_ready:
                self._tell(hooks.ON_FLEET_STOPPED, fleet)
            self.companions.bow_out(self, encode(hook_runner.END), now)
            # There is nothing more to tell.
            self.companions = None

    def exited(self, child: Child, exit_code: int, cause: str) -> None:
        """Tell of a worker that is gone."""
        worker = hooks.Worker(child.slot, child.pid, child.generation, exit_code, cause)
        self._post(encode(hooks.ON_WORKER_EXIT, **asdict(worker)))

    @staticmethod
    def _is_complete(fleet: Fleet) -> bool:
        served = {worker.slot for worker in fleet.workers.values() if worker.standing is Phase.READY}
        return fleet.stage in RUNNING and fleet.plan is fleet.settled and served.issuperset(range(fleet.size))

    def _renew(self, fleet: Fleet) -> None:
        """After a reload the functions are imported afresh, in a new process, as the application's are."""
        self._generation, self._config = fleet.settled.generation, fleet.settled.config
        if self.companions is not None:
            self.companions.replace(self, encode(hook_runner.END))

    def _tell(self, hook: str, fleet: Fleet) -> None:
        told = hooks.Fleet(os.getpid(), fleet.size, fleet.settled.generation, self._addresses)
        self._post(encode(hook, **asdict(told)))

    def _post(self, message: bytes) -> None:
        if self.companions is not None:
            self.companions.post(self, message)
