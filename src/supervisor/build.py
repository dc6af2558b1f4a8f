"""Makes the parts of a supervisor; after an upgrade, of what the supervisor before it has handed over."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..config import identity as identities
from ..config.options import Config, check_needed
from ..config.packages import require_later
from ..errors import SystemRefused
from ..ipc.address import address_of
from ..logs import setup as logs
from ..version import __version__
from ..worker.main import describe, name_process, preload
from .control.entrance import SERVER, ControlEntrance
from .control.listener import ControlListener, open_listener
from .fleet import Fleet
from .host import Host
from .jitter import chance
from .listeners import Listeners, bind, bind_admin
from .notify_socket import NotifySocket
from .observers import Greeter, Observer
from .own_descriptors import OwnDescriptors
from .pid_file import PidFile
from .provision import Provision
from .resources import raise_open_files
from .systemd import SystemdNotifier
from .upgrade.parts import Parts, restored_plans
from .upgrade.upgrader import LATE

if TYPE_CHECKING:
    import socket

    from .admin.auxiliary import AdminObserver, AdminProcess
    from .control.server import ControlServer
    from .control.status import Supervised
    from .hook_observer import HookObserver
    from .origin import Origin
    from .upgrade.arrival import Arrival

logger = logging.getLogger("tricorn.error")


class Builder:
    """Opens everything once. What has to be undone at the end goes to ``finally_``.

    ``came`` is the upgrade that we were executed for, if any: its state has what else would be opened here.
    """

    def __init__(
        self,
        config: Config,
        origin: Origin | None,
        parent: socket.socket | None,
        finally_: ExitStack,
        came: Arrival | None,
    ) -> None:
        """Raises ConfigError, SystemRefused."""
        check_auxiliaries(config)
        self.identity = identities.of(config)
        if came is None:
            preload(config)
        raise_open_files()
        self.own = own = OwnDescriptors()
        self._config = config
        self._origin = origin
        self._parent = parent
        self._finally = finally_
        self._came = came
        self._before: Mapping[str, Any] = {} if came is None else came.state
        self._admin_process: AdminProcess | None = None
        self._control: ControlEntrance | None = None
        # Last of all: the end of its connection tells a client that the stop is complete.
        finally_.callback(lambda: self._control.close() if self._control is not None else None)
        self._notify_socket = own.keep(NotifySocket(os.environ))
        finally_.callback(own.close, self._notify_socket)
        self._listeners = self._open_listeners()
        # Now, because the listeners are closed before the last client of the control socket has gone.
        self._urls = tuple(self._listeners.urls(scheme_of(config)))
        self._addresses = tuple(map(address_of, self._listeners.sockets))
        self._admin = self._open_admin()
        self._app_metrics = self._open_app_metrics() if config.app_metrics else None
        self._pid_file = self._open_pid_file() if config.pid_file is not None else None
        if config.umask is not None:
            os.umask(int(config.umask, 8))
        name_process("tricorn: supervisor")
        self._greeter = self._greet()
        plans = restored_plans(self._before) if came is not None else {}
        self._fleet = Fleet(config, chance)
        self._host = self._make_host({generation: plan.config for generation, plan in plans.items()})
        self._began = self._before["began"] if came is not None else time.time()
        self._since = self._before["since"] if came is not None else self._host.now()
        if came is not None:
            self._fleet.restore(self._before["fleet"], plans, self._host.now())

    def build(self) -> tuple[Parts, tuple[Observer, ...]]:
        """All parts, and those that look at the fleet."""
        notifier = SystemdNotifier(self._notify_socket)
        notifier.told = self._before.get("systemd", "")
        self._control = self._open_control()
        config = self._config
        has_admin = self._admin is not None or config.statsd is not None or config.otlp_endpoint is not None
        admin_observer = self._make_admin() if has_admin else None
        hook_observer = self._make_hook_observer() if self._config.hooks is not None else None
        found: list[Observer] = [self._greeter, notifier, Provision(self._config, self._host.modules, [SERVER, *LATE])]
        found += [one for one in (self._control, admin_observer, hook_observer) if one is not None]
        parts = Parts(
            config=self._config,
            since=self._since,
            began=self._began,
            identity=self.identity,
            fleet=self._fleet,
            host=self._host,
            listeners=self._listeners,
            notifier=notifier,
            notify_socket=self._notify_socket,
            parent=self._parent,
            admin=self._admin,
            app_metrics=self._app_metrics,
            pid_file=self._pid_file,
            control=self._control,
            admin_observer=admin_observer,
            hook_observer=hook_observer,
        )
        return parts, tuple(found)

    def begin(self) -> None:
        """Everything is there: from now on nothing of an upgrade can be undone, and signals are heard."""
        if self._came is None:
            return
        state = self._before
        if state["level"]:
            logs.choose_level(state["level"])
        self._came.commit()
        if self._came.failure:
            logger.error("Upgrade failed: %s; Tricorn %s goes on", self._came.failure, __version__)
        else:
            noun = "worker" if len(self._fleet.workers) == 1 else "workers"
            logger.info(
                "Tricorn %s has taken over from %s, with %d %s", __version__, state["tricorn"], len(self._fleet.workers), noun
            )
        if self._admin_process is not None:
            # A new one shows what we know. Until it does, clients wait for it.
            self._host.auxiliaries.replace(self._admin_process, self._admin_process.give_place)
        self._host.wakeup.listen()

    # ------------------------------------------------------------------------------------------------- what stays open

    def _open_listeners(self) -> Listeners:
        """Where clients are waited for. Raises SystemRefused."""
        if self._came is not None:
            listeners = Listeners.restored(self._before["listeners"], self.identity)
        else:
            listeners = bind(self._config, self.identity)
        self._finally.callback(listeners.close)
        return listeners

    def _open_admin(self) -> Listeners | None:
        """The listeners for ``--admin-bind``, if there are any."""
        config, identity = self._config, self.identity
        if config.admin_bind is None:
            return None
        admin = Listeners.restored(self._before["admin"], identity) if self._before else bind_admin(config, identity)
        self._finally.callback(admin.close)
        for listener in admin.sockets:
            self.own.keep(listener)
        return admin

    def _open_app_metrics(self) -> str:
        """The directory for ``--app-metrics``. Raises SystemRefused."""
        # Late, because most do without.
        from .admin import directory

        try:
            path: str = self._before["metrics_directory"] if self._before else directory.make(self.identity)
        except OSError as error:
            raise SystemRefused(f"--app-metrics: no directory can be made: {error.strerror}") from error
        self._finally.callback(directory.remove, path)
        return path

    def _open_pid_file(self) -> PidFile:
        assert self._config.pid_file is not None
        path, descriptor = self._before["lock"] if self._before else (self._config.pid_file, None)
        pid_file = self.own.keep(PidFile(path, self.identity, descriptor))
        self._finally.callback(pid_file.remove)
        return pid_file

    def _make_host(self, configs: Mapping[int, Config]) -> Host:
        config = self._config
        host = Host(
            self._listeners.sockets,
            development=config if config.reload else None,
            origin=self._origin,
            parent=self._parent,
            identity=self.identity,
            own=self.own,
            before=(self._before["processes"], configs) if self._before else None,
        )
        return self._finally.enter_context(host)

    def _open_control(self) -> ControlEntrance | None:
        """The entrance of the control socket, which is served from its first client on; None without a control socket."""
        host, own, state = self._host, self.own, self._before.get("control")
        if self._before:
            listener = None if state is None else ControlListener.restored(state["listener"], self.identity)
        else:
            listener = open_listener(self._config, self.identity)
        if listener is None:
            return None
        listening = listener

        def make() -> ControlServer:
            # Late, because most supervisors start without a client.
            from .control.server import ControlServer

            return ControlServer(listening, host.wakeup, own, self._supervised())

        control = ControlEntrance(listening, host.wakeup, own, make)
        if state is not None:
            control.restore(state, host.now())
        self._finally.callback(control.remove)
        host.attach(control)
        return control

    # ------------------------------------------------------------------------------------------------------- observers

    def _supervised(self) -> Supervised:
        """What the control socket's questions are answered from."""
        from .control.status import Supervised
        from .control.workers import Workers

        return Supervised(self._config.app, self._urls, self._addresses, self._since, Workers(self._host), os.getpid())

    def _make_admin(self) -> AdminObserver:
        """The observer that shows the fleet to the admin process."""
        # Late, because most do without.
        from ..ipc.published import Published
        from .admin.auxiliary import AdminObserver, AdminProcess
        from .admin.view import Exhibit

        host, admin = self._host, self._admin
        exhibit = Exhibit(self.own.keep(Published()), host.scoreboard, self._supervised())
        sockets = () if admin is None else admin.sockets
        others, is_first = self._listeners.sockets, self._came is None
        process = AdminProcess(self._config, sockets, others, exhibit, self._app_metrics, self._began, is_first)
        host.auxiliaries.add(process)
        self._admin_process = process
        if admin is not None and not self._before:
            logger.info("Admin listener on %s", ", ".join(admin.urls()))
        return AdminObserver(process, exhibit, host, self._before.get("lines") or ())

    def _make_hook_observer(self) -> HookObserver:
        """The observer that lets a process of its own call the fleet's hooks."""
        # Late, because most do without hooks.
        from .hook_observer import HookObserver, HookRunner

        runner = HookRunner(self._config, self._listeners.sockets)
        self._host.auxiliaries.add(runner)
        observer = HookObserver(runner, self._host.auxiliaries, [*self._urls])
        if self._before:
            observer.restore(self._before["hooks_told"])
        return observer

    def _greet(self) -> Greeter:
        """Log what starts, where, and with how many workers; returns the observer that logs when it serves."""
        config = self._config
        what = f"{config.app} on {', '.join(self._urls)}"
        if not self._before:
            logger.info("Tricorn %s starts %s", __version__, what)
            noun = "worker" if config.workers == 1 else "workers"
            logger.info("Supervisor [%d] starts %d %s on %s", os.getpid(), config.workers, noun, describe(config))
        return Greeter(what, has_told=bool(self._before))


def check_auxiliaries(config: Config) -> None:
    """Raise ConfigError for an option of a process that is not wanted, or that lacks a package."""
    check_needed(config, "admin_bind", "statsd")
    if config.otlp_endpoint is not None:
        exporter = "opentelemetry.exporter.otlp.proto.http"
        require_later(f"--otlp-endpoint {config.otlp_endpoint}", exporter, "opentelemetry-exporter-otlp-proto-http")


def scheme_of(config: Config) -> str:
    """``http`` or ``https``."""
    return "http" if config.ssl_certfile is None else "https"
