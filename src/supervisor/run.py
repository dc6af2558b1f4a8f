"""The supervisor's main loop, and what stands before and after it."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable

from .. import __version__
from ..config import Config, ConfigError, flag
from ..worker.run import describe, name_process, preload
from .fleet import Fleet
from .host import Host
from .listeners import Listeners, bind
from .messages import Fact, Reload

logger = logging.getLogger("tricorn.error")

ONCE = ("host", "port", "uds", "fd", "backlog")
"""Options that a reload can't change, for the listeners stay the same."""


def supervise(fleet: Fleet, host: Host, prepare: Callable[[list[Fact]], list[Fact]]) -> int:
    """Keep the fleet as it should be, until it has finished; returns the exit code.

    ``prepare`` completes the facts that the fleet can't act on as they come from the host.
    """
    facts: list[Fact] = []
    while not host.finished:
        for action in fleet.handle(facts, host.now()):
            host.perform(action)
        facts = prepare(host.wait(until=fleet.next_deadline()))
    return host.code


def run(config: Config, load_config: Callable[[], Config] | None = None) -> int:
    """Bind and serve until told to stop; returns the exit code.

    That is 0 when asked to stop, 3 when the application failed to start, 4 when the crash limit was reached.
    ``load_config`` reads the configuration afresh on a reload. Logs to ``tricorn.error``, which must be configured.
    Must be called in the main thread. Raises ListenerError (a ConfigError) when a listener can't be bound.
    """
    preload(config)
    listeners = bind(config)
    try:
        name_process("tricorn: supervisor")
        greet(config, listeners)
        with Host(listeners.sockets, development=config if config.reload else None) as host:
            code = supervise(Fleet(config, random.random), host, ConfigReader(config, load_config).prepare)
    finally:
        listeners.close()
    logger.info("Stopped, exit code %d", code)
    return code


def greet(config: Config, listeners: Listeners) -> None:
    """Say what is served, where, and by how many."""
    where = ", ".join(listeners.urls("http" if config.ssl_certfile is None else "https"))
    logger.info("Tricorn %s serving %s on %s (press CTRL+C to quit)", __version__, config.app, where)
    noun = "worker" if config.workers == 1 else "workers"
    logger.info("Supervisor [%d] starts %d %s on %s", os.getpid(), config.workers, noun, describe(config))


class ConfigReader:
    """Gives each reload its configuration, read afresh; drops the reload if that is broken."""

    def __init__(self, config: Config, load: Callable[[], Config] | None) -> None:
        self._first = config
        self._load = load

    def prepare(self, facts: list[Fact]) -> list[Fact]:
        prepared: list[Fact] = []
        for fact in facts:
            # A saved file is none of the configuration's.
            asked = isinstance(fact, Reload) and not fact.changed
            reloaded = self._read() if asked else fact
            prepared += [] if reloaded is None else [reloaded]
        return prepared

    def _read(self) -> Reload | None:
        try:
            config = self._first if self._load is None else self._load()
            # Files that it names may have become unusable, such as a certificate.
            preload(config)
        except ConfigError as error:
            logger.error("Reload abandoned, the configuration is broken: %s", error)
            return None
        for name in ONCE:
            if getattr(config, name) != getattr(self._first, name):
                logger.warning("%s %s: takes effect only after a restart", flag(name), getattr(config, name))
        return Reload() if self._load is None else Reload(config)
