"""Forks processes, and closes in them what only the supervisor may hold."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Collection
from typing import NoReturn

from ..config.identity import Identity
from ..errors import EXIT_BUG
from .life import flush_and_exit, live
from .own_descriptors import Closable, OwnDescriptors
from .wakeup import Wakeup

Life = Callable[[socket.socket], int]
"""What a process does, from fork to exit code, with its end of the channel to the supervisor."""


class Forker:
    """Forks the supervisor's children. All of them become ``identity``, if there is one."""

    def __init__(self, wakeup: Wakeup, own: OwnDescriptors, identity: Identity | None) -> None:
        self.own = own
        self._wakeup = wakeup
        self._identity = identity

    def fork(self, life: Life, keeps: Collection[Closable] = ()) -> tuple[int, socket.socket]:
        """Fork a process that lives ``life``; returns its pid and our end of its channel. Raises OSError.

        ``keeps``: what it keeps of the supervisor's own descriptors.
        """
        ours, theirs = self.open_channel()
        with theirs:
            try:
                return self.fork_with(theirs, life, keeps), ours
            except BaseException:
                self.own.close(ours)
                raise

    def open_channel(self) -> tuple[socket.socket, socket.socket]:
        """A channel to a process that is about to be forked: our end, which no process inherits, and its end."""
        ours, theirs = socket.socketpair()
        return self.own.keep(ours), theirs

    def fork_with(self, theirs: socket.socket, life: Life, keeps: Collection[Closable] = ()) -> int:
        """Fork a process that lives ``life`` with the channel ``theirs``; returns its pid. Raises OSError."""
        # What is still buffered would be written by the child once more.
        sys.stdout.flush()
        sys.stderr.flush()
        # No signal may reach the child while it still has the supervisor's handlers.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._leave(theirs, life, keeps)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return pid

    def _leave(self, theirs: socket.socket, life: Life, keeps: Collection[Closable]) -> NoReturn:
        """The child's whole life; never returns into the supervisor's stack."""
        try:
            self._wakeup.leave_to_child()
            # When the supervisor dies, each child reads the end of its channel: so no other child may hold an end of it.
            self.own.close_all(keeps)
            if self._identity is not None:
                self._identity.become()
            # The supervisor's exit functions do not concern the child.
            atexit._clear()
            # Applications, and what they start, rely on a mask without blocked signals, whatever our parent has blocked.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        except BaseException:
            traceback.print_exc()
            flush_and_exit(EXIT_BUG)
        live(lambda: life(theirs))
