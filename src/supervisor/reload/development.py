"""What the supervisor has only with ``--reload``: the watcher and the template, and when they must be replaced."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ...config.frozen import Value
from ...config.options import Config
from ...worker.forking import Heritage
from ..asking import Askings
from ..auxiliary import Auxiliaries
from ..messages import Fact, Spawn
from .template import Warming
from .watch_link import Watching

if TYPE_CHECKING:
    from ..origin import Origin


class Circumstances(Value):
    """What a process that is forked now starts with, besides the code on the disk."""

    config: Config
    environ: dict[str, str]
    directory: str
    files: tuple[str, ...]
    """The files that the configuration comes from."""


class Development:
    """The watcher and, if workers can be forked by one, the template; both are among ``auxiliaries``.

    ``heritage`` is what the template passes on to all workers, ``askings`` those that it is asked for; None without a template.
    """

    def __init__(
        self,
        config: Config,
        origin: Origin | None,
        heritage: Heritage,
        auxiliaries: Auxiliaries,
        askings: Askings | None,
    ) -> None:
        self._origin = origin
        self._auxiliaries = auxiliaries
        self._askings = askings
        self._circumstances = self._look_around(config)
        """The circumstances in which the watcher and the template were made."""
        self._watching = Watching(config, heritage.listeners, self._circumstances.files)
        auxiliaries.add(self._watching)
        self._warming = Warming(config, heritage, askings) if askings is not None else None
        if self._warming is not None:
            auxiliaries.add(self._warming)

    def prepare(self, config: Config) -> None:
        """Before a worker is forked with ``config``: replace watcher and template if they have other circumstances."""
        now = self._look_around(config)
        if now == self._circumstances:
            return
        self._circumstances = now
        self._auxiliaries.dismiss(self._watching)
        self._watching.renew(now.config, now.files, time.time())
        if self._warming is not None:
            self._auxiliaries.dismiss(self._warming)
            self._warming.config = now.config

    def ask(self, order: Spawn) -> bool:
        """Ask the template for the worker, if there is one; returns whether it was asked. Raises OSError, IndexError."""
        if self._warming is None or self._askings is None or not self._warming.is_warm:
            return False
        link = self._auxiliaries.link_to(self._warming)
        if link is None:
            return False
        try:
            self._askings.ask(order, link, None)
        except BrokenPipeError:
            self._auxiliaries.blame(self._warming, "does not read what it is told", time.monotonic())
            return False
        return True

    def hear_asked(self, now: float) -> list[Fact]:
        """What the template says."""
        return self._auxiliaries.hear(self._warming.name, now) if self._warming is not None else []

    def give_up_warm(self, now: float) -> None:
        """The template has not forked a worker in time: kill it. Another is made."""
        if self._warming is not None:
            self._auxiliaries.blame(self._warming, "does not fork", now)

    def _look_around(self, config: Config) -> Circumstances:
        try:
            directory = os.getcwd()
        except OSError:
            directory = ""
        return Circumstances(config, dict(os.environ), directory, self._origin.files() if self._origin is not None else ())
