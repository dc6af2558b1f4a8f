"""Imports, while no request is in flight, the modules that requests may need later.

A worker starts with the modules that its first answer needs. The other modules must not wait for the request that needs them: a
deploy may replace or delete the installed packages under a running server. Then that request would find no module, or another
version. The supervisor does the same, for the workers that it forks later.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import sys
from collections.abc import Callable

from ..config.options import Config
from .held import Held

logger = logging.getLogger("tricorn.error")

PAUSE = 0.05
"""Seconds between two imports, so that the event loop turns in between. The longest import takes about 20 ms."""
PATIENCE = 20
"""Times that an import is put off because of requests in flight: one second in all. A busy worker imports after that."""
HTTP2 = tuple(
    f"tricorn.protocols.http2.{name}"
    for name in (
        *(
            "blocks",
            "bodies",
            "calm",
            "connection",
            "flow",
            "frames",
            "head",
            "hpack",
            "huffman",
            "phase",
            "receiver",
            "response",
        ),
        *("stream", "tunnel"),
    )
)
"""All of HTTP/2. They are not imported but held."""
_held = Held()


def names(config: Config) -> list[str]:
    """The names of the modules that requests may need and that are not imported yet. Each is small."""
    # asyncio needs the first one to run something in a thread (``asyncio.to_thread``).
    found = ["concurrent.futures.thread", "urllib.parse", "ipaddress", "random", "tricorn.protocols.http1.grammar"]
    if config.report_stalls or config.timeout_request is not None:
        found += ["tricorn.worker.modules"]
    if config.warm_path:
        found += ["tricorn.worker.warming"]
    if config.drain_over:
        found += ["tricorn.worker.parting"]
    if config.http != "httptools":
        found += ["h11", "tricorn.protocols.http1.h11_codec"]
    if config.http2:
        found += HTTP2
    if config.proxy_protocol:
        found += ["tricorn.protocols.proxy.protocol"]
    if config.ws != "none" and config.interface != "wsgi":
        found += ["hashlib", "wsproto", "tricorn.worker.websocket"]
        if config.ws.startswith("websockets"):
            found += ["tricorn.protocols.websocket.websockets_reader"]
    return [name for name in found if name not in sys.modules and name not in _held]


def import_next(names: list[str]) -> None:
    """Import the first of ``names``, or hold it, and remove it from the list; log when the list is empty."""
    name = names.pop(0)
    try:
        if name in HTTP2:
            _held.hold(name)
        else:
            importlib.import_module(name)
    except Exception as error:
        # The request that needs the module will fail with the same error.
        logger.debug("Importing %s fails: %s: %s", name, type(error).__name__, error)
    if not names:
        logger.debug("Imported all that requests may need")
        # As after the start: these objects stay, so the garbage collector need not look at them again.
        gc.freeze()


class LateImports:
    """Imports ``names`` one by one on the event loop, as a rule when ``is_idle`` says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop, names: list[str], is_idle: Callable[[], bool]) -> None:
        self._loop = loop
        self._names = names
        self._is_idle = is_idle
        self._tries = 0
        self._next: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start importing, unless it has started or there is nothing to import."""
        if self._next is None and self._names:
            self._next = self._loop.call_later(PAUSE, self._import)

    def cancel(self) -> None:
        """Import no more."""
        if self._next is not None:
            self._next.cancel()

    def _import(self) -> None:
        self._tries += 1
        if self._is_idle() or self._tries > PATIENCE:
            self._tries = 0
            import_next(self._names)
        if self._names:
            self._next = self._loop.call_later(PAUSE, self._import)
