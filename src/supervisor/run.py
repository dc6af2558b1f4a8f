"""The supervisor's main loop, and what stands before and after it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from .. import __version__
from ..config import Config, ConfigError, flag
from ..values import replace
from ..worker.run import describe, name_process, preload
from .chance import chance
from .fleet import Fleet
from .host import Host
from .identity import PidFile, drop
from .listeners import Listeners, bind
from .messages import Fact, Reload
from .notify import Herald, earlier

if TYPE_CHECKING:
    import socket

    from .hooking import Hooking
    from .origin import Origin

logger = logging.getLogger("tricorn.error")

ONCE = (
    *("host", "port", "uds", "fd", "bind", "uds_permissions", "backlog", "chdir", "user", "group", "umask", "pid_file"),
    *("hooks", "reload", "reload_warm"),
)
"""Options that a reload can't change: listeners, identity, hooks and the processes that serve ``--reload`` stay the same."""


def supervise(
    fleet: Fleet, host: Host, prepare: Callable[[list[Fact]], list[Fact]], herald: Herald, hooking: Hooking | None = None
) -> int:
    """Keep the fleet as it should be, until it has finished; returns the exit code.

    ``prepare`` completes the facts that the fleet can't act on as they come from the host; ``herald`` and ``hooking`` tell
    others what becomes of the fleet.
    """
    facts: list[Fact] = []
    while not host.finished:
        for action in fleet.handle(facts, host.now()):
            host.perform(action)
        herald.look(fleet, host.now())
        if hooking is not None:
            hooking.look(fleet, host.now())
        facts = prepare(host.wait(until=earlier(fleet.next_deadline(), herald.due)))
    return host.code


def run(config: Config, origin: Origin | None = None, parent: socket.socket | None = None) -> int:
    """Bind and serve until told to stop; returns the exit code.

    That is 0 when asked to stop, 3 when the application failed to start, 4 when the crash limit was reached.
    A reload reads the configuration afresh from ``origin``. ``parent`` is a socket that another process holds the other end of:
    when that process ends, the supervisor stops. Logs to ``tricorn.error``, which must be configured.
    Must be called in the main thread. Raises ListenerError (a ConfigError) when a listener can't be bound.
    """
    preload(config)
    with ExitStack() as finally_:
        herald = Herald(os.environ)
        finally_.callback(herald.close)
        listeners = bind(config)
        finally_.callback(listeners.close)
        settle_in(config, listeners, finally_)
        name_process("tricorn: supervisor")
        greet(config, listeners)
        hooking = make_hooking(config, listeners) if config.hooks is not None else None
        development = config if config.reload else None
        with Host(listeners.sockets, development=development, hooking=hooking, origin=origin, parent=parent) as host:
            reader = ConfigReader(config, origin)
            code = supervise(Fleet(config, chance), host, reader.prepare, herald, hooking)
    logger.info("Stopped, exit code %d", code)
    return code


def settle_in(config: Config, listeners: Listeners, finally_: ExitStack) -> None:
    """Once the listeners are bound: write the file with our pid, and become who we are to be. Raises IdentityError."""
    files = [path for path, _ in listeners.files]
    if config.pid_file is not None:
        pid_file = PidFile(config.pid_file)
        finally_.callback(pid_file.remove)
        files.append(pid_file.path)
    if config.umask is not None:
        os.umask(int(config.umask, 8))
    drop(config, [*files, *(file for file in (config.error_log_file, config.access_log_file) if file is not None)])


def make_hooking(config: Config, listeners: Listeners) -> Hooking:
    # Late, for most do without.
    from .hooking import Hooking

    return Hooking(config, listeners.sockets, listeners.urls(scheme_of(config)))


def scheme_of(config: Config) -> str:
    return "http" if config.ssl_certfile is None else "https"


def greet(config: Config, listeners: Listeners) -> None:
    """Say what is served, where, and by how many."""
    where = ", ".join(listeners.urls(scheme_of(config)))
    logger.info("Tricorn %s serving %s on %s (press CTRL+C to quit)", __version__, config.app, where)
    noun = "worker" if config.workers == 1 else "workers"
    logger.info("Supervisor [%d] starts %d %s on %s", os.getpid(), config.workers, noun, describe(config))


class ConfigReader:
    """Gives each reload its configuration, read afresh; drops the reload if that is broken."""

    def __init__(self, config: Config, origin: Origin | None) -> None:
        self._first = config
        self._origin = origin

    def prepare(self, facts: list[Fact]) -> list[Fact]:
        prepared: list[Fact] = []
        for fact in facts:
            reloaded = self._read(fact) if isinstance(fact, Reload) and fact.afresh else fact
            prepared += [] if reloaded is None else [reloaded]
        return prepared

    def _read(self, reload: Reload) -> Reload | None:
        try:
            config = self._first if self._origin is None else self._origin.load()
            # Files that it names may have become unusable, such as a certificate.
            preload(config)
        except ConfigError as error:
            logger.error("Reload abandoned, the configuration is broken: %s", error)
            return None
        for name in ONCE:
            if getattr(config, name) != getattr(self._first, name):
                logger.warning("%s %s: takes effect only after a restart", flag(name), getattr(config, name))
        # Workers and the hook runner must not call the hooks of different objects; only with --reload there are a watcher and
        # a template.
        kept = {name: getattr(self._first, name) for name in ("hooks", "reload", "reload_warm")}
        return reload if self._origin is None else replace(reload, config=replace(config, **kept))
