"""Imports, while nobody waits, what requests may need later.

A worker starts with what its first answer needs. The rest must not wait for the request that needs it: a deploy may replace or
delete the installed packages under a running server, and then that request would find nothing, or another version. So does the
supervisor, for the workers that it forks later.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import sys
from collections.abc import Callable

from ..config.options import Config

logger = logging.getLogger("tricorn.error")

PAUSE = 0.05
"""Seconds between two imports, so that each holds up the event loop by itself. The longest takes about 20 ms."""
PATIENCE = 20
"""How often an import gives way to requests in flight: a second. A worker that is never idle imports in between."""


def names(config: Config) -> list[str]:
    """The modules, not imported yet, that requests may need, whatever they are; in small portions."""
    # The first is asyncio's, for what runs in a thread (``asyncio.to_thread``).
    found = ["concurrent.futures.thread", "urllib.parse", "ipaddress", "random", "tricorn.protocols.http1.grammar"]
    if config.http != "httptools":
        found += ["h11", "tricorn.protocols.http1.h11_codec"]
    if config.proxy_protocol:
        found += ["tricorn.protocols.proxy.protocol"]
    if config.ws != "none" and config.interface != "wsgi":
        found += ["hashlib", "wsproto", "tricorn.worker.websocket"]
        if config.ws.startswith("websockets"):
            found += ["tricorn.protocols.websocket.websockets_reader"]
    return [name for name in found if name not in sys.modules]


def import_next(names: list[str]) -> None:
    """Import the first of ``names`` and take it off; after the last one, say so."""
    name = names.pop(0)
    try:
        importlib.import_module(name)
    except Exception as error:
        # The request that needs it says so again.
        logger.debug("Importing %s fails: %s: %s", name, type(error).__name__, error)
    if not names:
        logger.debug("Imported all that requests may need")
        # As after the start: what lives now is here to stay.
        gc.freeze()


class LateImports:
    """Imports ``names`` one by one on the event loop, while it ``is_idle``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, names: list[str], is_idle: Callable[[], bool]) -> None:
        self._loop = loop
        self._names = names
        self._is_idle = is_idle
        self._tries = 0
        self._next: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start importing, unless that is under way or done."""
        if self._next is None and self._names:
            self._next = self._loop.call_later(PAUSE, self._import)

    def cancel(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _import(self) -> None:
        self._tries += 1
        if self._is_idle() or self._tries > PATIENCE:
            self._tries = 0
            import_next(self._names)
        if self._names:
            self._next = self._loop.call_later(PAUSE, self._import)
