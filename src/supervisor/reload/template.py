"""The supervisor's side of the template, which forks workers with ``--reload-warm`` (see worker/template.py)."""

from __future__ import annotations

import logging
import socket

from ...config.options import Config
from ...ipc.channel import Message, Table, Violation, encode
from ...ipc.text import one_line
from ...worker import template
from ...worker.forking import FORKED, GIVEN, Heritage
from ..asking import Askings
from ..messages import Fact

logger = logging.getLogger("tricorn.error")

MAX_MODULES = 20_000
"""Modules to import beforehand; more are not remembered."""
MAX_HARMFUL = 20
"""Modules that can't be shared; with more, the template is given up, because each costs a start of it."""


class Warming:
    """The auxiliary that forks workers which have imported the installed packages already."""

    name = "template"
    lasting = False
    keeps = ()
    says: Table = template.SAYS

    def __init__(self, config: Config, heritage: Heritage, askings: Askings) -> None:
        """``askings``: the workers that it is asked for."""
        self.wanted = False
        self.config = config
        """What its workers are born with; the process has no other."""
        self._heritage = heritage
        self._askings = askings
        self._names: dict[str, None] = {}
        """All installed modules that the application imported, in the order in which it did."""
        self._seen = 0
        self._harmful: dict[str, None] = {}

    @property
    def is_warm(self) -> bool:
        """Whether the process has imported all that it is to import, so it answers at once."""
        return bool(self._names) and self._seen == len(self._names)

    def main(self, link: socket.socket) -> int:
        return template.main(self.config, link, self._heritage, self._names, self._harmful)

    def hear(self, message: Message) -> list[Fact]:
        if message["kind"] in (FORKED, GIVEN):
            if wrong := self._askings.hear(None, message):
                raise Violation(wrong)
        elif message["kind"] == template.STALE:
            logger.debug("An installed package has changed: making a new template")
            self._seen = 0
            self._askings.lose(None)
        elif message["kind"] == template.WARM:
            self._seen = message["seen"]
            logger.debug("Warm reload: %d modules of installed packages are imported once", self._seen)
        elif message["kind"] == template.LEFT_OUT:
            module = message["module"]
            logger.debug("Warm reload leaves out %s: %s", one_line(module), message["why"])
            if message["harmful"]:
                self._leave_out(module)
        return []

    def _leave_out(self, module: str) -> None:
        self._harmful[module] = None
        if len(self._harmful) > MAX_HARMFUL:
            logger.debug("Warm reload is given up: too many modules can't be shared")
            self.wanted = False

    def learn(self, message: Message) -> bytes | None:
        new = [name for name in message.get("installed", ()) if name not in self._names]
        del new[max(0, MAX_MODULES - len(self._names)) :]
        self._names.update(dict.fromkeys(new))
        if message.get("complete") and self._names and len(self._harmful) <= MAX_HARMFUL:
            self.wanted = True
        return encode(template.IMPORT, names=new) if new else None

    def died(self, now: float) -> None:
        self._seen = 0
        self._askings.lose(None)
