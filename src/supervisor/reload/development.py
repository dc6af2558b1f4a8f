"""What the supervisor has only with ``--reload``: the watcher and the template, and when they must be replaced."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ...config.frozen import Value
from ...config.options import Config
from ...worker.forking import Heritage
from ...worker.main import Birth
from ..auxiliary import Auxiliaries
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
    """The watcher and, if workers can be forked by one (``is_warm``), the template; both are among ``auxiliaries``.

    ``heritage`` is what the template passes on to all workers.
    """

    def __init__(
        self, config: Config, origin: Origin | None, heritage: Heritage, auxiliaries: Auxiliaries, is_warm: bool
    ) -> None:
        self._origin = origin
        self._auxiliaries = auxiliaries
        self._circumstances = self._look_around(config)
        """The circumstances in which the watcher and the template were made."""
        self._watching = Watching(config, heritage.listeners, self._circumstances.files)
        auxiliaries.add(self._watching)
        self._warming = Warming(config, heritage) if is_warm else None
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

    def fork(self, birth: Birth) -> int | None:
        """Let the template fork the worker, if there is one; returns the pid. Raises OSError if it fails."""
        if self._warming is None or not self._warming.is_warm:
            return None
        link = self._auxiliaries.link_to(self._warming)
        if link is None:
            return None
        details = {"id": birth.id, "slot": birth.slot, "generation": birth.generation, "row": birth.row}
        try:
            return self._warming.fork(link, details, [birth.channel.fileno(), birth.hang_report, birth.stalls])
        except OSError:
            # Perhaps it forked and could not answer. That worker finds its channel closed and exits.
            self._auxiliaries.dismiss(self._warming)
            raise

    def _look_around(self, config: Config) -> Circumstances:
        try:
            directory = os.getcwd()
        except OSError:
            directory = ""
        return Circumstances(config, dict(os.environ), directory, self._origin.files() if self._origin is not None else ())
