"""For tests: serves an application on a free port, in a thread of the test's own process.

with tricorn.testing.serve(app) as server:
    httpx.get(server.url)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .embedding.config import Config
from .embedding.server import Server

PATIENCE = 30.0
"""Seconds that the application's start-up may take, and so may the stop."""


class Running:
    """A server that runs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        """The server itself. A test may call its other methods."""
        self.host, self.port = server.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if server.config.is_ssl else "http"
        self.url = f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        """Such as ``http://127.0.0.1:51234``, without a final slash."""


@contextmanager
def serve(app: Any, **options: Any) -> Iterator[Running]:
    """Serve ``app``, an ASGI application or ``"module:attribute"``, until the block ends.

    ``options`` are keywords of ``tricorn.Config``. The port is free, the log begins at level ``warning``, and requests are not
    logged, unless they say otherwise. Raises RuntimeError if the server does not start: the log says why.
    """
    usual = dict(host="127.0.0.1", port=0, log_level="warning", access_log=False)  # noqa: C408  # keywords of Config
    server = Started(Config(app, **{**usual, **options}))
    thread = threading.Thread(target=server.run, name="tricorn.testing", daemon=True)
    thread.start()
    try:
        server.wait(thread)
        yield Running(server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        if thread.is_alive():
            server.force_exit = True
            thread.join(PATIENCE)


class Started(Server):
    """Tells the thread that waits for it when it has started, or has failed to."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._is_known = threading.Event()
        self._error: BaseException | None = None

    def run(self, sockets: Any = None) -> None:
        """As the base class does; what it raises is for :meth:`wait`."""
        try:
            super().run(sockets)
        except BaseException as error:
            self._error = error
        finally:
            self._is_known.set()

    async def startup(self, sockets: Any = None) -> None:
        """As the base class does."""
        await super().startup(sockets)
        self._is_known.set()

    def wait(self, thread: threading.Thread) -> None:
        """Return when it serves. Raises RuntimeError if it does not."""
        if not self._is_known.wait(PATIENCE):
            raise RuntimeError(f"the application has not started within {PATIENCE:g} s")
        if not self.started or self._error is not None:
            thread.join(PATIENCE)
            raise RuntimeError(f"the application did not start: {self._error!r}") from self._error
