"""The template from which workers are forked with ``--reload-warm``, as the supervisor sees it (see worker/template.py)."""

from __future__ import annotations

import ctypes
import logging
import select
import socket
import sys
import time
from typing import Any

from ..config import Config
from ..worker import template
from ..worker.channel import Decoder, Message, encode
from .messages import Fact

logger = logging.getLogger("tricorn.error")

PATIENCE = 1.0
"""Seconds in which a template must have forked; it takes some milliseconds. We wait for it, as for fork."""
MOST_HARMFUL = 20
"""Modules that do harm, after which the template is given up: each costs a start of it."""
PR_SET_CHILD_SUBREAPER = 36
"""prctl(2), <linux/prctl.h>."""


def become_subreaper() -> bool:
    """Let the kernel give us the descendants whose parents are gone; whether it does. They are our children then."""
    if sys.platform != "linux":
        return False
    result: int = ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return result == 0


class Warming:
    """The companion that forks workers which have imported the installed packages already."""

    name = "template"
    lasting = False

    def __init__(self, config: Config, heritage: template.Heritage) -> None:
        self.wanted = False
        self.config = config
        """What the workers are born with; the process knows no other."""
        self._heritage = heritage
        self._names: dict[str, None] = {}
        """All installed modules that the application imported, in the order in which it did."""
        self._seen = 0
        self._harmful: dict[str, None] = {}

    @property
    def is_warm(self) -> bool:
        """Whether the process has imported all there is to import, so that it answers."""
        return bool(self._names) and self._seen == len(self._names)

    def main(self, link: socket.socket) -> int:
        return template.main(self.config, link, self._heritage, self._names, self._harmful)

    def hear(self, message: Message) -> list[Fact]:
        if message["kind"] == template.WARM:
            self._seen = int(message["seen"])
            logger.debug("Warm reload: %d modules of installed packages are imported once", self._seen)
        elif message["kind"] == template.LEFT_OUT:
            module = str(message["module"])
            logger.debug("Warm reload leaves out %s: %s", module, message["why"])
            if message["harmful"]:
                self._leave_out(module)
        return []

    def _leave_out(self, module: str) -> None:
        self._harmful[module] = None
        if len(self._harmful) > MOST_HARMFUL:
            logger.debug("Warm reload is given up: too many modules can't be shared")
            self.wanted = False

    def learn(self, message: Message) -> bytes | None:
        new = [name for name in map(str, message.get("installed", ())) if name not in self._names]
        self._names.update(dict.fromkeys(new))
        if message.get("complete") and self._names and len(self._harmful) <= MOST_HARMFUL:
            self.wanted = True
        return encode(template.IMPORT, names=new) if new else None

    def died(self, now: float) -> None:
        self._seen = 0

    def fork(self, link: socket.socket, decoder: Decoder, birth: dict[str, Any], descriptors: list[int]) -> int | None:
        """Let the process, on the other end of ``link``, fork a worker; returns its pid.

        None if the process is outdated (it then exits). Raises OSError when it does not answer.
        """
        deadline = time.monotonic() + PATIENCE
        answer = select.poll()
        answer.register(link, select.POLLIN)
        socket.send_fds(link, [encode(template.FORK, birth=birth)], descriptors)
        while True:
            if not answer.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError("the template does not answer")
            data = link.recv(65536)
            if not data:
                raise ConnectionError("the template is gone")
            for message in decoder.feed(data):
                if message["kind"] == template.FORKED:
                    return int(message["pid"])
                if message["kind"] == template.STALE:
                    logger.debug("An installed package has changed: making a new template")
                    self._seen = 0
                    return None
                self.hear(message)
