"""The supervisor's main loop, and what comes before and after it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from ..config import identity as identities
from ..config.frozen import replace
from ..config.identity import Identity
from ..config.options import OPTIONS, Config, check_needed
from ..config.packages import require_later
from ..errors import ConfigError, SystemRefused
from ..ipc.address import Address, address_of
from ..version import __version__
from ..worker.main import describe, name_process, preload
from .control.entrance import SERVER, ControlEntrance
from .control.listener import open_listener
from .fleet import Fleet
from .host import Host
from .jitter import chance
from .listeners import Listeners, bind, bind_admin
from .messages import Fact
from .notify_socket import NotifySocket
from .observers import Greeter, Observer, look_all
from .orders import Reload
from .own_descriptors import OwnDescriptors
from .pid_file import PidFile
from .provision import Provision
from .resources import raise_open_files
from .systemd import SystemdNotifier

if TYPE_CHECKING:
    import socket

    from .control.server import ControlServer
    from .control.status import Supervised
    from .origin import Origin

logger = logging.getLogger("tricorn.error")


def supervise(fleet: Fleet, host: Host, prepare: Callable[[list[Fact]], list[Fact]], observers: Sequence[Observer] = ()) -> int:
    """Keep the fleet as it should be, until it has finished; returns the exit code.

    ``prepare`` completes the facts that the fleet can't act on as they come from the host.
    """
    facts: list[Fact] = []
    while not host.finished:
        for action in fleet.handle(facts, host.now()):
            host.perform(action)
        times = (fleet.next_deadline(), look_all(observers, fleet.snapshot(), host.now()))
        facts = prepare(host.wait(until=min((at for at in times if at is not None), default=None)))
    return host.code


def run(config: Config, origin: Origin | None = None, parent: socket.socket | None = None) -> int:
    """Bind and serve until told to stop; returns the exit code.

    That is 0 when asked to stop, 3 when the application failed to start, 4 when the crash limit was reached.
    A reload reads the configuration afresh from ``origin``. ``parent`` is a socket that another process holds the other end of:
    when that process ends, the supervisor stops. Logs to ``tricorn.error``, which must be configured. Must be called in the
    main thread. Raises SystemRefused for a listener, ``--user`` or ``--pid-file`` that the system does not allow.
    """
    check_auxiliaries(config)
    identity = identities.of(config)
    preload(config)
    raise_open_files()
    own = OwnDescriptors()
    control: ControlEntrance | None = None
    with ExitStack() as finally_:
        # Last of all: the end of its connection tells a client that the stop is complete.
        finally_.callback(lambda: control.close() if control is not None else None)
        notify_socket = own.keep(NotifySocket(os.environ))
        finally_.callback(own.close, notify_socket)
        listeners = bind(config, identity)
        finally_.callback(listeners.close)
        admin = bind_admin(config, identity) if config.admin_bind is not None else None
        if admin is not None:
            finally_.callback(admin.close)
            for listener in admin.sockets:
                own.keep(listener)
        app_metrics = make_app_metrics(identity, finally_) if config.app_metrics else None
        if config.pid_file is not None:
            finally_.callback(own.keep(PidFile(config.pid_file, identity)).remove)
        if config.umask is not None:
            os.umask(int(config.umask, 8))
        name_process("tricorn: supervisor")
        greeter = greet(config, listeners)
        development = config if config.reload else None
        with Host(listeners.sockets, development=development, origin=origin, parent=parent, identity=identity, own=own) as host:
            observers: tuple[Observer, ...] = (greeter, SystemdNotifier(notify_socket), Provision(config, [SERVER]))
            if (control := open_control(config, identity, host, own, listeners)) is not None:
                finally_.callback(control.remove)
                host.attach(control)
                observers += (control,)
            if admin is not None or config.statsd is not None or config.otlp_endpoint is not None:
                observers += (make_admin(config, admin, listeners, host, own, app_metrics),)
            if config.hooks is not None:
                observers += (make_hook_observer(config, listeners, host),)
            reader = ConfigReader(config, origin, identity)
            code = supervise(Fleet(config, chance), host, reader.prepare, observers)
    logger.info("Stopped, exit code %d", code)
    return code


def check_auxiliaries(config: Config) -> None:
    """Raise ConfigError for an option of a process that is not wanted, or that lacks a package."""
    check_needed(config, "admin_bind", "statsd")
    if config.otlp_endpoint is not None:
        exporter = "opentelemetry.exporter.otlp.proto.http"
        require_later(f"--otlp-endpoint {config.otlp_endpoint}", exporter, "opentelemetry-exporter-otlp-proto-http")


def open_control(
    config: Config, identity: Identity | None, host: Host, own: OwnDescriptors, listeners: Listeners
) -> ControlEntrance | None:
    """The entrance of the control socket, which is served from its first client on; None without a control socket."""
    listener = open_listener(config, identity)
    if listener is None:
        return None
    since = host.now()
    # Now, because the listeners are closed before the last client has gone.
    places = places_of(config, listeners)

    def make() -> ControlServer:
        # Late, because most supervisors start without a client.
        from .control.server import ControlServer

        return ControlServer(listener, host.wakeup, own, supervised_by(config, places, since, host))

    return ControlEntrance(listener, host.wakeup, own, make)


Places = tuple[tuple[str, ...], tuple[Address, ...]]
"""The listeners: as URLs for people, and as addresses."""


def places_of(config: Config, listeners: Listeners) -> Places:
    """Where ``listeners`` listen."""
    return tuple(listeners.urls(scheme_of(config))), tuple(map(address_of, listeners.sockets))


def supervised_by(config: Config, places: Places, since: float, host: Host) -> Supervised:
    """What the control socket's questions are answered from. The supervisor runs ``since`` then, and listens on ``places``."""
    from .control.status import Supervised
    from .control.workers import Workers

    return Supervised(config.app, *places, since, Workers(host), os.getpid())


def make_app_metrics(identity: Identity | None, finally_: ExitStack) -> str:
    """The directory for ``--app-metrics``, which ``finally_`` removes. Raises SystemRefused."""
    # Late, because most do without.
    from .admin import directory

    try:
        path = directory.make(identity)
    except OSError as error:
        raise SystemRefused(f"--app-metrics: no directory can be made: {error.strerror}") from error
    finally_.callback(directory.remove, path)
    return path


def make_admin(
    config: Config, admin: Listeners | None, listeners: Listeners, host: Host, own: OwnDescriptors, app_metrics: str | None
) -> Observer:
    """The observer that shows the fleet to the admin process, which answers on ``admin``, if that is given.

    ``app_metrics``: the directory of the application's metrics.
    """
    # Late, because most do without.
    from ..ipc.published import Published
    from .admin.auxiliary import AdminObserver, AdminProcess
    from .admin.view import Exhibit

    supervised = supervised_by(config, places_of(config, listeners), host.now(), host)
    exhibit = Exhibit(own.keep(Published()), host.scoreboard, supervised)
    process = AdminProcess(config, () if admin is None else admin.sockets, listeners.sockets, exhibit, app_metrics)
    host.auxiliaries.add(process)
    if admin is not None:
        logger.info("Admin listener on %s", ", ".join(admin.urls()))
    return AdminObserver(process, exhibit, host)


def make_hook_observer(config: Config, listeners: Listeners, host: Host) -> Observer:
    """The observer that lets a process of its own call the fleet's hooks."""
    # Late, because most do without hooks.
    from .hook_observer import HookObserver, HookRunner

    runner = HookRunner(config, listeners.sockets)
    host.auxiliaries.add(runner)
    return HookObserver(runner, host.auxiliaries, listeners.urls(scheme_of(config)))


def scheme_of(config: Config) -> str:
    """``http`` or ``https``."""
    return "http" if config.ssl_certfile is None else "https"


def greet(config: Config, listeners: Listeners) -> Greeter:
    """Log what starts, where, and with how many workers; returns the observer that logs when it serves."""
    what = f"{config.app} on {', '.join(listeners.urls(scheme_of(config)))}"
    logger.info("Tricorn %s starts %s", __version__, what)
    noun = "worker" if config.workers == 1 else "workers"
    logger.info("Supervisor [%d] starts %d %s on %s", os.getpid(), config.workers, noun, describe(config))
    return Greeter(what)


class ConfigReader:
    """Gives each reload its configuration, read afresh, or what is wrong with it.

    If ``identity``, the user that workers run as, can change the files that it is read from, a reload obeys these files with
    that user's rights only, and not with root's.
    """

    def __init__(self, config: Config, origin: Origin | None, identity: Identity | None = None) -> None:
        self._first = config
        self._origin = origin
        self._identity = identity

    def prepare(self, facts: list[Fact]) -> list[Fact]:
        """``facts``, in which orders to reload have the new configuration, read once for all, or what is wrong with it."""
        if not any(isinstance(fact, Reload) and fact.afresh for fact in facts):
            return facts
        found = self._read()
        return [replace(fact, **found) if isinstance(fact, Reload) and fact.afresh else fact for fact in facts]

    def _read(self) -> dict[str, Any]:
        """The fields of ``Reload`` that say what was read."""
        try:
            with self._rights():
                config = self._first if self._origin is None else self._origin.load()
            self._preload(config)
        except ConfigError as error:
            return {"broken": str(error)}
        # Workers must agree with what the start has made: listeners, hook runner, watcher, template.
        kept = {name: getattr(self._first, name) for name, known in OPTIONS.items() if known.once}
        for name, value in kept.items():
            if (wanted := getattr(config, name)) != value:
                logger.warning("%s: takes effect only after a restart", OPTIONS[name].show(wanted))
        return {} if self._origin is None else {"config": replace(config, **kept)}

    def _rights(self) -> AbstractContextManager[None]:
        """The rights with which to obey what stands in the files that the configuration is read from."""
        files = self._origin.files() if self._origin is not None else ()
        if self._identity is None or not any(map(self._identity.can_change, files)):
            return nullcontext()
        return self._identity.acting()

    def _preload(self, config: Config) -> None:
        """Look at the files that the configuration names, such as a certificate: they may have become unusable."""
        is_named_anew = any(
            known.preloaded and getattr(config, name) != getattr(self._first, name) for name, known in OPTIONS.items()
        )
        with self._rights() if is_named_anew else nullcontext():
            preload(config)
