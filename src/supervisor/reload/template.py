"""The supervisor's side of the template, which forks workers with ``--reload-warm`` (see worker/template.py)."""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from contextlib import suppress
from typing import Any

from ...config.options import Config
from ...ipc.channel import Message, Table, Violation, encode
from ...ipc.text import one_line
from ...worker import template
from ..link import Link
from ..messages import Fact

logger = logging.getLogger("tricorn.error")

PATIENCE = 1.0
"""Seconds in which a template must have forked. It takes some milliseconds, and the supervisor waits for it, as for fork."""
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

    def __init__(self, config: Config, heritage: template.Heritage) -> None:
        self.wanted = False
        self.config = config
        """What its workers are born with; the process has no other."""
        self._heritage = heritage
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
        if message["kind"] == template.WARM:
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

    def fork(self, link: Link, birth: dict[str, Any], descriptors: list[int]) -> int | None:
        """Let the process, on the other end of ``link``, fork a worker; returns its pid.

        None if the process is outdated (it then exits). Raises OSError when it does not answer.
        """
        deadline = time.monotonic() + PATIENCE
        answer = select.poll()
        answer.register(link.channel, select.POLLIN)
        if not link.send_fds(encode(template.FORK, birth=birth), descriptors):
            raise TimeoutError("the template does not read")
        while True:
            if not answer.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError("the template does not answer")
            try:
                messages = link.read(time.monotonic())
            except Violation as violation:
                raise ConnectionError(f"the template wrote {violation}") from None
            if link.is_over:
                raise ConnectionError("the template is gone")
            for message in messages:
                if message["kind"] == template.FORKED:
                    return self._child(message["pid"], deadline)
                if message["kind"] == template.STALE:
                    logger.debug("An installed package has changed: making a new template")
                    self._seen = 0
                    return None
                self.hear(message)

    @staticmethod
    def _child(pid: int, deadline: float) -> int:
        """``pid``, once it is our child: when the process between has exited. Raises OSError if it is not by ``deadline``."""
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                return pid
            time.sleep(0.001)
        raise ConnectionError("the template named a process that is not ours")
