"""The supervisor's main loop, and what comes before and after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from ..config.frozen import replace
from ..config.identity import Identity
from ..config.options import OPTIONS, Config
from ..errors import ConfigError
from ..worker.main import preload
from .build import Builder
from .fleet import Fleet
from .host import Host
from .messages import Fact
from .observers import Observer, look_all
from .orders import Reload
from .upgrade import arrival
from .upgrade.upgrader import Upgrader

if TYPE_CHECKING:
    import socket

    from .origin import Origin, Start

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


def run(config: Config, origin: Start | None = None, parent: socket.socket | None = None) -> int:
    """Bind and serve until told to stop; returns the exit code.

    That is 0 when asked to stop, 3 when the application failed to start, 4 when the crash limit was reached.
    A reload reads the configuration afresh from ``origin``. ``parent`` is a socket that another process holds the other end of:
    when that process ends, the supervisor stops. Logs to ``tricorn.error``, which must be configured. Must be called in the
    main thread. Raises SystemRefused for a listener, ``--user`` or ``--pid-file`` that the system does not allow.

    After an upgrade, the supervisor before us has handed all this over, and ``config`` is what it was started with.
    """
    came = arrival.current()
    with ExitStack() as finally_:
        with arrival.undone_if_it_fails(came):
            builder = Builder(config, origin, parent, finally_, came)
            parts, observers = builder.build()
            reader = ConfigReader(config, origin, builder.identity)
            upgrader = Upgrader(parts, origin, builder.own, came)
            builder.begin()
        code = supervise(parts.fleet, parts.host, lambda facts: reader.prepare(upgrader.take(facts)), (*observers, upgrader))
    logger.info("Stopped, exit code %d", code)
    return code


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
        try:
            found: dict[str, Any] = {"config": self.read()}
        except ConfigError as error:
            found = {"broken": str(error)}
        return [replace(fact, **found) if isinstance(fact, Reload) and fact.afresh else fact for fact in facts]

    def read(self) -> Config | None:
        """The configuration as its sources say now; None if there is nothing to read. Raises ConfigError."""
        with self.rights():
            config = self._first if self._origin is None else self._origin.load()
        self._preload(config)
        # Workers must agree with what the start has made: listeners, hook runner, watcher, template.
        kept = {name: getattr(self._first, name) for name, known in OPTIONS.items() if known.once}
        for name, value in kept.items():
            if (wanted := getattr(config, name)) != value:
                logger.warning("%s: takes effect only after a restart", OPTIONS[name].show(wanted))
        return None if self._origin is None else replace(config, **kept)

    def rights(self) -> AbstractContextManager[None]:
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
        with self.rights() if is_named_anew else nullcontext():
            preload(config)
