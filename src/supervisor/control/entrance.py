"""Waits for the first client of the control socket, and makes the server for it. Most supervisors never have a client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..own_descriptors import OwnDescriptors
from ..snapshot import Snapshot
from ..wakeup import Wakeup
from .listener import ControlListener

if TYPE_CHECKING:
    from ..messages import Answer
    from ..orders import Order
    from .server import ControlServer

logger = logging.getLogger("tricorn.error")

SERVER = "tricorn.supervisor.control.server"
"""The module that serves. It is imported some seconds after the start (see ``provision.py``), or for the first client."""


class ControlEntrance:
    """Owns the ``listener`` and passes everything on to the server, once ``make`` has made it. An observer of the fleet."""

    def __init__(
        self, listener: ControlListener, wakeup: Wakeup, own: OwnDescriptors, make: Callable[[], ControlServer]
    ) -> None:
        self.due: float | None = None
        """When to look again; None if there is no need."""
        self._listener = own.keep(listener)
        self._wakeup = wakeup
        self._own = own
        self._make = make
        self._server: ControlServer | None = None
        wakeup.watch(listener.socket, self)

    def state(self, give: Callable[[int], int]) -> dict[str, Any] | None:
        """What another process needs to go on with listener and clients, fit for JSON; ``give`` is told of each descriptor.

        None if the socket was closed.
        """
        if not self._listener.is_open:
            return None
        server = None if self._server is None else self._server.state(give)
        return {"listener": self._listener.state(give), "server": server}

    def restore(self, state: Mapping[str, Any], now: float) -> None:
        """Go on with the clients of this :meth:`state`."""
        if state["server"] is not None:
            with self.unharmed():
                self._server = self._make()
                self._server.restore(state["server"], now)

    def attend(self, now: float) -> None:
        """The first client is there."""
        with self.unharmed():
            if self._server is None:
                self._server = self._make()
            self._server.attend(now)

    def look(self, snapshot: Snapshot, now: float) -> None:
        """Let the server look."""
        self.due = None
        if self._server is not None:
            with self.unharmed():
                self._server.look(snapshot, now)
                self.due = self._server.due

    def take_orders(self) -> list[Order]:
        """The orders that came since the last call."""
        return self._server.take_orders() if self._server is not None else []

    def answer(self, answer: Answer, now: float) -> None:
        """The fleet answers an order."""
        if self._server is not None:
            with self.unharmed():
                self._server.answer(answer, now)

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """If serving fails, close the socket and go on. The cause may be a mistake of ours, or packages that were replaced.

        What the host calls of the control socket's parts runs in this context as well.
        """
        try:
            yield
        except Exception:
            logger.exception("The control socket is closed, because serving it fails")
            self.remove()
            self.close()

    def remove(self) -> None:
        """Listen no more. Clients that are connected stay so until :meth:`close`."""
        if self._listener.is_open:
            self._wakeup.forget(self._listener.socket)
            self._own.close(self._listener)
            self._listener.remove()

    def close(self) -> None:
        """Drop all clients, at the supervisor's end."""
        if self._server is not None:
            self._server.close()
            self._server = None
