"""With ``--reload``: the template, a process that has imported the installed packages and forks workers.

It imports those modules of installed packages that the application imported last time, never the developer's own code. A worker
that it forks finds these modules loaded, and imports the others. Workers must not share what ``harm.py`` names, nor *the
developer's code*, which a package may import by itself: after the next save it would be old. A module that brings one of these
is left out, and the template, which has it by then, is started again without that module.
"""

from __future__ import annotations

import gc
import importlib
import socket
import sys
from collections.abc import Iterable
from typing import Any

from ..config.options import Config
from ..ipc import channel
from . import modules
from .forking import ANSWERS, FORK, SHAPE_OF_FORK, Forks, Heritage
from .freshness import Freshness
from .harm import harms, look_around, own_modules, summary
from .loader import prepare_path
from .modules import is_among

IMPORT = "import"
"""To the template: import these modules."""
WARM, LEFT_OUT, STALE = "warm", "left out", "stale"
"""From the template: it has tried so many modules; it leaves this one out, and exits if that did harm; it is outdated and
exits."""
SAYS: channel.Table = {
    WARM: channel.Shape({"seen": channel.whole}),
    LEFT_OUT: channel.Shape({"module": channel.text, "why": channel.log_line, "harmful": channel.flag}),
    STALE: channel.Shape(),
    **ANSWERS,
}
"""All messages from the template."""
HEARS: channel.Table = {
    IMPORT: channel.Shape({"names": channel.names}),
    FORK: SHAPE_OF_FORK,
}
REQUEST = 65536
"""Bytes read at a time."""


class Harmful(Exception):
    """Importing a module made something that workers must not share. The supervisor has been told."""


class Template:
    """Imports modules and forks workers, as the supervisor asks."""

    def __init__(self, config: Config, link: socket.socket, heritage: Heritage, without: Iterable[str]) -> None:
        """``without``: packages that are left out."""
        self._config = config
        self._link = link
        self._forks = Forks(config, link, heritage)
        self._without = frozenset(without)
        self._seen = 0
        """The number of modules tried, imported or left out."""
        self._freshness = Freshness()
        self._decoder = channel.Decoder(HEARS)

    def run(self, names: Iterable[str]) -> int:
        """Import ``names``, then do what the supervisor asks until it is gone."""
        prepare_path(self._config.app_dir)
        try:
            self._import(names)
            while self._serve():
                pass
        except Harmful:
            return 0
        return 0

    def _import(self, names: Iterable[str]) -> None:
        """Raises Harmful, after it has told the supervisor of the module."""
        for name in names:
            self._seen += 1
            if is_among(name, self._without) or name in sys.modules:
                continue
            before, own = look_around(), len(own_modules(modules.is_developers))
            try:
                importlib.import_module(name)
            except BaseException as error:
                self._say(LEFT_OUT, module=name, why=f"it fails: {type(error).__name__}: {error}"[:500], harmful=False)
            found = list(harms(before).values())
            if len(own_modules(modules.is_developers)) > own:
                found.append("imports the application's own code")
            if found:
                self._say(LEFT_OUT, module=name, why=f"it {summary(found)}", harmful=True)
                raise Harmful
        self._freshness.remember()
        gc.collect()
        # The garbage collector does not touch frozen objects, so workers go on sharing their pages, and collect faster.
        gc.freeze()
        self._say(WARM, seen=self._seen)

    def _serve(self) -> bool:
        """Do what is asked next; returns False when nothing more will come."""
        data, descriptors, _, _ = socket.recv_fds(self._link, REQUEST, 3)
        if not data:
            return False
        for message in self._decoder.feed(data):
            if message["kind"] == IMPORT:
                self._import(message["names"])
            elif message["kind"] == FORK:
                if self._freshness.is_lost:
                    self._say(STALE)
                    return False
                self._forks.fork(message["birth"], descriptors)
        return True

    def _say(self, kind: str, **details: Any) -> None:
        self._link.sendall(channel.encode(kind, **details))


def main(config: Config, link: socket.socket, heritage: Heritage, names: Iterable[str], without: Iterable[str]) -> int:
    """The process of the template, from fork to exit code."""
    try:
        return Template(config, link, heritage, without).run(names)
    except (BrokenPipeError, ConnectionResetError):
        return 0
