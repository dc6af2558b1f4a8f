"""All parts of a running supervisor that an upgrade hands over, gathered into its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...config.frozen import Value
from ...config.identity import Identity
from ...config.options import Config
from ...logs import setup as logs
from ..fleet import Fleet
from ..host import Host
from ..listeners import Listeners
from ..phases import Plan
from ..systemd import SystemdNotifier
from . import state as states

if TYPE_CHECKING:
    import socket

    from ..admin.auxiliary import AdminObserver
    from ..control.entrance import ControlEntrance
    from ..hook_observer import HookObserver
    from ..notify_socket import NotifySocket
    from ..pid_file import PidFile


class Parts(Value):
    """The parts; None for what was not asked for."""

    config: Config
    """With which the supervisor began."""
    since: float
    """When it began, in seconds of CLOCK_MONOTONIC."""
    began: float
    """The same by the wall clock."""
    identity: Identity | None
    """The user that workers run as, if it is not ours."""
    fleet: Fleet
    host: Host
    listeners: Listeners
    notifier: SystemdNotifier
    notify_socket: NotifySocket
    parent: socket.socket | None
    admin: Listeners | None
    app_metrics: str | None
    pid_file: PidFile | None
    control: ControlEntrance | None
    admin_observer: AdminObserver | None
    hook_observer: HookObserver | None

    def state(self) -> dict[str, Any]:
        """All that goes over, but for the signals; ``descriptors`` are the numbers of those that stay open."""
        descriptors: list[int] = []

        def give(fd: int) -> int:
            descriptors.append(fd)
            return fd

        fleet = self.fleet
        configs = {child.generation: child.config for child in self.host.children.values()}
        configs |= {worker.plan.generation: worker.plan.config for worker in fleet.workers.values()}
        configs[fleet.wanted.settled.generation] = fleet.wanted.settled.config
        return {
            **states.heading(),
            "config": states.config_state(self.config),
            "configs": [[generation, states.config_state(config)] for generation, config in configs.items()],
            "level": logs.chosen_level(),
            "since": self.since,
            "began": self.began,
            "fleet": fleet.state(self.host.now()),
            "processes": self.host.state(give),
            "listeners": self.listeners.state(give),
            "parent": None if self.parent is None else give(self.parent.fileno()),
            "admin": None if self.admin is None else self.admin.state(give),
            "metrics_directory": self.app_metrics,
            "lock": None if self.pid_file is None else [self.pid_file.path, give(self.pid_file.fileno())],
            "control": None if self.control is None else self.control.state(give),
            "systemd": self.notifier.told,
            "lines": None if self.admin_observer is None else self.admin_observer.lines,
            "hooks_told": None if self.hook_observer is None else self.hook_observer.state(),
            "descriptors": descriptors,
        }


def settled_config(state: Mapping[str, Any]) -> Config:
    """The configuration of the workers that serve, of a :meth:`Parts.state`. Raises ConfigError."""
    return restored_plans(state)[state["fleet"]["wanted"]["generation"]].config


def restored_plans(state: Mapping[str, Any]) -> dict[int, Plan]:
    """The plans of a :meth:`Parts.state`, by generation. Raises ConfigError."""
    return {generation: Plan(generation, states.restored_config(config)) for generation, config in state["configs"]}
