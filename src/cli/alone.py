"""``--workers 0``: the command serves in its own process, without a supervisor. It handles signals as a supervisor does."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from types import FrameType

from ..embedding.config import Config
from ..embedding.server import Server
from ..logs import files as log_files
from ..supervisor import early, hangup
from ..supervisor.notify_socket import NotifySocket
from ..supervisor.wishes import StopWishes

logger = logging.getLogger("tricorn.error")


class Alone(Server):
    """The only server of its process."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._wishes = StopWishes()
        self._hang_up: hangup.HangUp | None = None
        self._systemd = NotifySocket(os.environ)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as the base class does, then tell systemd that we are ready."""
        await super().startup(sockets)
        if self._hang_up is not None:
            self._watch_terminal(self._hang_up)
        if self.started:
            self._systemd.say("READY=1", "STATUS=serving without a supervisor")
            self._show_life()

    def _watch_terminal(self, hang_up: hangup.HangUp) -> None:
        """Notice when the terminal is lost, so that a SIGHUP long afterwards counts as an order, and not as a hang-up."""
        if (watch := hang_up.watch) is None:
            return
        loop = asyncio.get_running_loop()

        def lose() -> None:
            hang_up.lost()
            loop.remove_reader(watch)

        loop.add_reader(watch, lose)

    def _show_life(self) -> None:
        if self._systemd.watchdog_period is not None:
            self._systemd.say("WATCHDOG=1")
            asyncio.get_running_loop().call_later(self._systemd.watchdog_period, self._show_life)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell systemd, then shut down as the base class does."""
        self._systemd.say("STOPPING=1", "STATUS=stopping")
        await super().shutdown(sockets)

    def take_signals(self) -> None:
        """Handle signals from now on, and those that came before. Must be called in the main thread."""
        arrived, self._hang_up = early.take()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        signal.signal(signal.SIGHUP, self._hear_hang_up)
        signal.signal(signal.SIGUSR1, lambda number, frame: log_files.reopen())
        signal.signal(signal.SIGQUIT, lambda number, frame: os._exit(0))
        signal.signal(signal.SIGTTIN, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, self._refuse_upgrade)
        # With `stty tostop`, a log line would stop a process in the background.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        # The application runs in this process, and expects that no signals are blocked.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for earlier in arrived:
            # The others need nothing: logs were opened a moment ago, and there are no workers.
            if earlier in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.raise_signal(earlier)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first request to stop is graceful; another one stops at once (see wishes.py)."""
        typed = sig == signal.SIGINT and hangup.is_typed()
        if self._wishes.is_another(time.monotonic(), typed):
            self.force_exit = True
        self.should_exit = True

    @staticmethod
    def _refuse_upgrade(sig: int, frame: FrameType | None) -> None:
        """There is no supervisor to replace. The signal's default effect would end the server."""
        logger.warning("SIGUSR2: without a supervisor (--workers 0) nothing can be upgraded in place; restart the server")

    def _hear_hang_up(self, sig: int, frame: FrameType | None) -> None:
        """There is nothing to reload, so SIGHUP has a meaning only if the terminal was closed."""
        if self._hang_up is not None and self._hang_up.is_meant():
            self.handle_exit(sig, frame)
