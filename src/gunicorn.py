"""Tricorn as a worker of gunicorn: ``gunicorn -w 4 -k tricorn.gunicorn.TricornWorker app:app``.

Gunicorn binds, forks and watches; each worker serves with Tricorn's protocols. The worker obeys gunicorn's settings and writes
to gunicorn's loggers. A subclass can set more keywords in ``CONFIG_KWARGS``, as with uvicorn's worker.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import signal
import sys
from types import FrameType, SimpleNamespace
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from .embedding.config import Config
from .embedding.server import Server
from .logs.access import Access
from .logs.formats import Record
from .protocols.context import Ended
from .protocols.request import decode_path
from .worker import endure

BEAT = 1.0
"""Seconds between two heartbeats to gunicorn's arbiter, and between two checks that it lives."""


class GunicornAccess:
    """Passes requests to gunicorn's logger, in the form that its own workers use."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __call__(self, client: str, method: str, path: str, version: str, status: int, ended: Ended | None) -> None:
        if ended is None:
            # Refused before there was a request; gunicorn's own workers do not log that.
            return
        record = Record(ended, client, path, status)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in record.request_headers]
        sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in record.headers.items()]
        environ = {
            "REMOTE_ADDR": record.client,
            "REQUEST_METHOD": method,
            "RAW_URI": record.target,
            "SERVER_PROTOCOL": f"HTTP/{version}",
            "PATH_INFO": decode_path(record.path.encode("ascii")),
            "QUERY_STRING": record.query,
            # As CGI names them (RFC 3875 section 4.1.18).
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers},
        }
        told = SimpleNamespace(status=str(status), sent=record.size, headers=sent)
        request = SimpleNamespace(headers=headers)
        self._log.access(told, request, environ, datetime.timedelta(seconds=record.seconds))

    def line(self, text: str) -> None:
        """Do nothing: gunicorn's own workers do not log WebSockets."""

    def flush(self) -> None:
        """Do nothing: no line waits."""


class LoggedServer(Server):
    """A server whose access log is given."""

    def __init__(self, config: Config, access: Access) -> None:
        super().__init__(config)
        self._access = access

    def _make_access(self) -> Access:
        return self._access


class TricornWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """A worker class for gunicorn's ``-k``."""

    CONFIG_KWARGS: dict[str, Any] = {}
    """Further keywords of :class:`tricorn.Config`."""
    _server: Server | None = None

    def init_signals(self) -> None:
        """Leave signals to the server: gunicorn's handlers would answer the same ones."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        # The signal must not interrupt the application's system calls (sigaction(2), SA_RESTART).
        signal.siginterrupt(signal.SIGUSR1, False)

    def run(self) -> None:
        """Serve until the worker is to end. Gunicorn calls it in the worker, after importing the application."""
        # Gunicorn replaces a hung worker only after its first heartbeat. This one covers a hang at start-up.
        self.notify()
        self._use_loggers()
        config = self._make_config()
        server = LoggedServer(config, GunicornAccess(self.log)) if self._logs_by_gunicorn() else Server(config)
        endure.run(self._serve(server), config.get_loop_factory())

    async def _serve(self, server: Server) -> None:
        self._server = server
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self._quit)
        await server.serve(sockets=[one.sock for one in self.sockets])

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Handle TERM and INT. While the server serves, it handles them itself, and sends them again at its end."""
        if self._server is None:
            # The application is still being imported: there is nothing to finish.
            sys.exit(0)
        self._server.should_exit = True

    def _quit(self) -> None:
        assert self._server is not None
        self._server.should_exit = self._server.force_exit = True

    async def _beat(self) -> None:
        self.notify()
        if os.getppid() != self.ppid:
            self.log.info("Parent changed, shutting down: %s", self)
            assert self._server is not None
            self._server.should_exit = True

    def _use_loggers(self) -> None:
        for name, source in (("error", self.log.error_log), ("access", self.log.access_log)):
            logger = logging.getLogger(f"tricorn.{name}")
            logger.handlers = source.handlers
            logger.setLevel(source.level)
            logger.propagate = False

    def _logs_by_gunicorn(self) -> bool:
        """Whether a format or a logger class needs gunicorn's logger; otherwise we write our own line, which costs less."""
        told = self.cfg.access_log_format != self.cfg.settings["access_log_format"].default
        return type(self.log) is not Logger or (told and bool(self.log.access_log.handlers))

    def _make_config(self) -> Config:
        settings = self.cfg
        options = {**self._limits(), "proxy_protocol": bool(settings.proxy_protocol and settings.proxy_protocol != "off")}
        keywords: dict[str, Any] = {
            "log_config": None,
            "access_log": bool(self.log.access_log.handlers) and not self._logs_by_gunicorn(),
            "backlog": settings.backlog,
            "timeout_keep_alive": settings.keepalive,
            "timeout_graceful_shutdown": settings.graceful_timeout,
            "timeout_notify": BEAT,
            "callback_notify": self._beat,
            "limit_max_requests": self.max_requests if settings.max_requests else None,
            "forwarded_allow_ips": settings.forwarded_allow_ips,
            **self._tls(),
        }
        given = {**keywords, **self.CONFIG_KWARGS}
        return Config(self.wsgi, options={**options, **given.pop("options", {})}, **given)

    def _limits(self) -> dict[str, int]:
        """Gunicorn's limits of a request head if they are set; its defaults refuse what uvicorn's workers accept."""
        names = ("limit_request_line", "limit_request_fields", "limit_request_field_size")
        told = {name: getattr(self.cfg, name) for name in names}
        # For gunicorn, zero is no limit; a mebibyte is above --limit-request-head.
        return {name: size or 1 << 20 for name, size in told.items() if size != self.cfg.settings[name].default}

    def _tls(self) -> dict[str, Any]:
        if not self.cfg.is_ssl:
            return {}
        # Settings that are not given keep Tricorn's defaults.
        known = {name: getattr(self.cfg, name) for name in ("keyfile", "certfile", "cert_reqs", "ca_certs", "ciphers")}
        return {f"ssl_{name}": value for name, value in known.items() if value is not None}
