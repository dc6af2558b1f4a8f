"""Opens the control socket's listener."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from ...config.identity import Identity, rights_for
from ...config.options import Config
from ...errors import SystemRefused
from ...ipc.control import default_address, has_abstract, socket_address
from ..listeners import Inode, clear_stale, inode_of

logger = logging.getLogger("tricorn.error")

NONE = "none"
"""The value of ``--control-socket`` that turns it off."""
BACKLOG = 64
"""Clients that may wait to be accepted, in addition to those that are served."""


class ControlListener:
    """The listening socket, and its file if it has one."""

    def __init__(self, listening: socket.socket, path: str | None, inode: Inode | None, identity: Identity | None) -> None:
        """``path`` and ``inode`` are the file's, if there is one; ``identity`` is the user that workers run as."""
        self.socket = listening
        self._path = path
        self._inode = inode
        self._identity = identity

    @classmethod
    def restored(cls, state: Mapping[str, Any], identity: Identity | None) -> ControlListener:
        """The one whose :meth:`state` that is."""
        inode = state["inode"]
        return cls(socket.socket(fileno=state["fd"]), state["path"], inode and tuple(inode), identity)

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to own it, fit for JSON; ``give`` is told of the descriptor."""
        return {"fd": give(self.socket.fileno()), "path": self._path, "inode": self._inode}

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self.socket.fileno() >= 0

    def close(self) -> None:
        """Listen no more; in a process just forked as well, so the file stays."""
        self.socket.close()

    def remove(self) -> None:
        """Listen no more, and remove the file if it is still ours."""
        self.close()
        if self._path is None:
            return
        try:
            with rights_for(self._path, self._identity):
                if inode_of(self._path) == self._inode:
                    os.unlink(self._path)
        except OSError as error:
            logger.debug("The control socket %s stays behind: %s", self._path, error.strerror)


def open_listener(config: Config, identity: Identity | None = None) -> ControlListener | None:
    """Listen where ``--control-socket`` says; None if that is nowhere, or the system refuses it."""
    if config.control_socket == NONE:
        return None
    address = config.control_socket or default_address(os.getpid())
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path, inode = _bind(listening, address, identity)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except (OSError, SystemRefused) as error:
        listening.close()
        cause = error.strerror if isinstance(error, OSError) and error.strerror else error
        logger.debug("No control socket %s: %s", address, cause)
        return None
    return ControlListener(listening, path, inode, identity)


def _bind(listening: socket.socket, address: str, identity: Identity | None) -> tuple[str | None, Inode | None]:
    """Bind; returns the file that was made, as path and inode. Raises OSError or SystemRefused."""
    if address.startswith("@") and has_abstract():
        listening.bind(socket_address(address))
        return None, None
    # Absolute, because the working directory may change until the exit.
    path = os.path.abspath(address)
    with rights_for(path, identity):
        clear_stale(path, "--control-socket")
        # The file must never be open to others, not even for a moment.
        before = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        return path, inode_of(path)
