"""``tricorn.Config``: what to serve and how, said in Python with uvicorn's names.

It can be changed until it is served; then it becomes the frozen settings that all of Tricorn reads (see config.py).
"""

from __future__ import annotations

import asyncio
import copy
import io
import logging
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from configparser import ConfigParser, RawConfigParser
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

from ..config import identity as identities
from ..config.env_file import EnvironmentFile
from ..config.frozen import replace
from ..config.logging_config import LOGGING_CONFIG
from ..config.options import DEFAULTS, OPTIONS, configure, flag
from ..config.options import Config as Settings
from ..errors import AppError, ConfigError
from ..logging import TRACE_LOG_LEVEL
from ..logs import config_file as log_configs
from ..logs import setup as logs
from ..protocols.http1.connection import HttpConnection
from ..supervisor.listeners import bind, url
from ..worker.interfaces import complete, guess
from ..worker.loader import locate, resolve
from ..worker.main import loop_factory
from ..worker.tls import load as load_tls
from .lifespan import LifespanOff, LifespanOn

logger = logging.getLogger("tricorn.error")

STARTUP_FAILURE = 3
"""Exit code when the application does not start."""
PRISTINE = copy.deepcopy(LOGGING_CONFIG)
SET_BY_PROGRAM = "set by the program"
"""Stands for a file of logging settings where the program has configured logging by other means."""

RENAMED = {"reload_dirs": "reload_dir", "reload_includes": "reload_include", "reload_excludes": "reload_exclude"}
"""Fields whose options are named otherwise."""
APART = ("app", "host", "env_file", "log_config", "log_level", "workers", "ws_ping_interval", "ws_ping_timeout")
"""Fields that are named as an option, but do not mean quite the same."""

ContextFactory = Callable[["Config", Callable[[], ssl.SSLContext]], ssl.SSLContext]


@dataclass(eq=False)
class Config:
    """All of uvicorn's keywords; ``options`` are further ones of Tricorn, by the names of its settings.

    Logging is configured and ``env_file`` read when it is made. Raises ConfigError for a file that can't be read; other
    mistakes are found by :meth:`settings`.
    """

    app: Any
    # None or "" is every address of the machine, as for asyncio's create_server.
    host: str | tuple[str, ...] | None = "127.0.0.1"
    # None is a port of the kernel's choice.
    port: int | str | None = 8000
    uds: str | None = None
    fd: int | None = None
    # Besides, an event loop, or what makes one: for a server in this process.
    loop: str | asyncio.AbstractEventLoop | Callable[[], asyncio.AbstractEventLoop] = "auto"
    http: str = "auto"
    http2: bool = False
    ws: str = "auto"
    ws_max_size: int = 16777216
    ws_max_queue: int = 32
    ws_ping_interval: float | None = 20.0
    ws_ping_timeout: float | None = 20.0
    ws_per_message_deflate: bool = True
    lifespan: str = "auto"
    env_file: str | os.PathLike[str] | None = None
    # Besides, a RawConfigParser or an open file, both of the ini format; None leaves logging alone.
    log_config: dict[str, Any] | str | os.PathLike[str] | Any | None = field(default_factory=lambda: LOGGING_CONFIG)
    log_level: str | int | None = None
    access_log: bool = True
    use_colors: bool | None = None
    interface: str = "auto"
    reload: bool = False
    reload_dirs: list[str] | list[Path] | str | None = None
    reload_delay: float = 0.25
    reload_includes: list[str] | str | None = None
    reload_excludes: list[str] | str | None = None
    workers: int | None = None
    proxy_headers: bool = True
    server_header: bool = True
    date_header: bool = True
    forwarded_allow_ips: list[str] | str | None = None
    root_path: str = ""
    limit_concurrency: int | None = None
    limit_max_requests: int | None = None
    limit_max_requests_jitter: int = 0
    backlog: int = 2048
    timeout_keep_alive: float = 5
    timeout_notify: float = 30
    timeout_graceful_shutdown: float | None = None
    timeout_worker_healthcheck: float | None = None
    callback_notify: Callable[[], Awaitable[None]] | None = None
    ssl_keyfile: str | os.PathLike[str] | None = None
    ssl_certfile: str | os.PathLike[str] | None = None
    ssl_keyfile_password: str | None = None
    ssl_version: int = ssl.PROTOCOL_TLS_SERVER
    ssl_cert_reqs: int = ssl.CERT_NONE
    ssl_ca_certs: str | os.PathLike[str] | None = None
    ssl_ciphers: str | None = None
    ssl_context_factory: ContextFactory | None = None
    headers: list[tuple[str, str]] | None = None
    factory: bool = False
    h11_max_incomplete_event_size: int | None = None
    reset_contextvars: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loaded = False
        self.loaded_app: Any = None
        self.ssl: ssl.SSLContext | None = None
        self.headers = [(str(name), str(value)) for name, value in self.headers or ()]
        self.encoded_headers: list[tuple[bytes, bytes]] = []
        for name in RENAMED:
            value = getattr(self, name)
            setattr(self, name, [value] if isinstance(value, str) else list(value or ()))
        self.reload_dirs_excludes: list[Path] = []
        """Directories that are not watched, once it is known that some are."""
        if self.should_reload:
            self._find_directories()
        self._environment = EnvironmentFile(os.environ)
        self._environment.load(os.fspath(self.env_file) if self.env_file else None)
        if isinstance(self.log_config, io.IOBase):
            # It can be read once only, and in this process.
            settings = ConfigParser()
            settings.read_file(self.log_config)  # type: ignore[arg-type]  # a file of text
            self.log_config = settings
        self.workers = adapt("workers", self.workers or None) or self._from_environment("workers")
        if self.forwarded_allow_ips is None:
            self.forwarded_allow_ips = self._from_environment("forwarded_allow_ips")
        self.configure_logging()

    def _from_environment(self, name: str) -> Any:
        """As uvicorn: of the variables that the command reads, a program that is not the command reads few."""
        for variable in OPTIONS[name].env:
            if text := os.environ.get(variable):
                return OPTIONS[name].convert(text)
        return DEFAULTS[name]

    def _find_directories(self) -> None:
        """What ``reload_dirs`` and ``reload_excludes`` come to where saved files are looked for."""
        app_dir = self.options.get("app_dir", "")
        wanted = self.reload_dirs or [".", *([app_dir] if app_dir else [])]
        self.reload_dirs = list(dict.fromkeys(Path(one).resolve() for one in wanted))
        self.reload_dirs_excludes = [Path(one).resolve() for one in self.reload_excludes or () if Path(one).is_dir()]

    @property
    def is_ssl(self) -> bool:
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @property
    def use_subprocess(self) -> bool:
        return bool(self.reload or (self.workers or 1) > 1)

    @property
    def should_reload(self) -> bool:
        return isinstance(self.app, str) and self.reload

    @property
    def asgi_version(self) -> str:
        return "2.0" if self.interface == "asgi2" else "3.0"

    @property
    def http_protocol_class(self) -> type[asyncio.Protocol]:
        """What takes each connection. To be looked at, not made: it belongs to a worker's service."""
        return HttpConnection

    @property
    def ws_protocol_class(self) -> type[asyncio.Protocol] | None:
        """What takes a connection that becomes a WebSocket; None where none may."""
        if self.ws == "none" or self.interface == "wsgi":
            return None
        from ..protocols.websocket.connection import WebSocketConnection

        return WebSocketConnection

    @property
    def lifespan_class(self) -> type[LifespanOn]:
        return LifespanOff if self.lifespan == "off" else LifespanOn

    # -------------------------------------------------------------------------------------------------------- settings

    def settings(self) -> Settings:
        """The same as frozen settings. Raises ConfigError for what can't be."""
        given: dict[str, Any] = {name: getattr(self, name) for name in same_fields()}
        given |= {option: tuple(map(str, getattr(self, name))) for name, option in RENAMED.items()}
        given["app"] = self.app if isinstance(self.app, str) else ""
        given["host"] = self.host if isinstance(self.host, tuple) else (self.host or "",)
        given["port"] = 0 if self.port is None else self.port
        given["header"] = tuple(f"{name}:{value}" for name, value in self.headers or ())
        given["workers"] = self.workers
        given["log_level"] = self._level_name()
        given["log_config"] = None if self._logs_as_usual() else SET_BY_PROGRAM
        for name in ("ws_ping_interval", "ws_ping_timeout"):
            given[name] = getattr(self, name) or 0
        allowed = self.forwarded_allow_ips
        given["forwarded_allow_ips"] = allowed if isinstance(allowed, str) else ",".join(allowed or ())
        if not isinstance(self.loop, str | None):
            if self.use_subprocess:
                raise ConfigError("--loop: workers of a supervisor need its name, MODULE:ATTRIBUTE")
            del given["loop"]
        if not self.is_ssl:
            # Uvicorn looks at none of them then, and programs pass their defaults.
            given = {name: value for name, value in given.items() if not name.startswith("ssl_")}
        given = {name: adapt(name, value) for name, value in given.items()}
        # Uvicorn's None is our default: to wait for ever is nothing that anybody wants.
        given = {name: value for name, value in given.items() if value is not None}
        return self._judged({**given, **self.options})

    def environment(self) -> dict[str, str]:
        """The process's environment as it is without ``env_file``."""
        return self._environment.without()

    def supervised(self, bind: tuple[str, ...]) -> Settings:
        """The settings for a supervisor that listens on ``bind`` instead, if there is any."""
        elsewhere = {name: DEFAULTS[name] for name in ("host", "port", "uds", "fd")}
        return replace(self.settings(), **elsewhere, bind=bind) if bind else self.settings()

    def _judged(self, given: dict[str, Any]) -> Settings:
        for name, value in list(given.items()):
            if name not in OPTIONS:
                raise ConfigError(f"{name} = {value!r}: no such option")
            if callable(value):
                shown, choices = getattr(value, "__name__", repr(value)), ", ".join(OPTIONS[name].choices)
                named = " or a name, MODULE:ATTRIBUTE" if OPTIONS[name].custom else ""
                raise ConfigError(f"{flag(name)} {shown}: Tricorn takes no classes or functions here, but {choices}{named}")
            if value in list(OPTIONS[name].inapplicable):
                logger.warning("%s: %s", flag(name), OPTIONS[name].inapplicable[value])
                del given[name]
        if given.get("loop") == "none":
            given["loop"] = "asyncio"
        return configure(**given)

    def _level_name(self) -> str:
        if self.log_level is None:
            return str(DEFAULTS["log_level"])
        if isinstance(self.log_level, str):
            return self.log_level.lower()
        # The least severe level that is still logged.
        return next((name for name, level in logs.LEVELS.items() if level >= self.log_level), "critical")

    def _logs_as_usual(self) -> bool:
        return self.log_config == PRISTINE

    def configure_logging(self) -> None:
        """Configure logging as ``log_config`` and ``log_level`` say; not at all if ``log_config`` is None."""
        logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
        if self._logs_as_usual():
            colors = adapt("use_colors", self.use_colors)
            settings = Settings(use_colors=colors, log_level=self._level_name(), **self._log_options())
            logs.configure(settings, identities.find(self.options.get("user"), self.options.get("group")))
            return
        if isinstance(self.log_config, dict):
            log_configs.apply_dict(self.log_config, self.use_colors)
        elif isinstance(self.log_config, str | os.PathLike):
            log_configs.apply_file(os.fspath(self.log_config))
        elif isinstance(self.log_config, RawConfigParser):
            log_configs.apply_ini(self.log_config)
        if self.log_level is not None:
            logs.set_level(self.log_level if isinstance(self.log_level, int) else self.log_level.lower())

    def _log_options(self) -> dict[str, Any]:
        names = ("log_format", "error_log_file", "access_log_file", "access_log_format")
        return {name: self.options[name] for name in names if name in self.options}

    # ------------------------------------------------------------------------------------------------------------ load

    def load(self) -> None:
        """Import the application and read the certificate; exits with 3 when the application can't be had."""
        settings = self.settings()
        try:
            found = resolve(self.load_app(), str(self.app), self.factory)
            if self.interface == "auto":
                self.interface = guess(found, str(self.app))
        except AppError as error:
            self._exit(error, STARTUP_FAILURE)
        self.loaded_app = complete(found, settings, self.interface)
        self.ssl = self._make_context(settings)
        self.encoded_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers or ()]
        if self.server_header and not any(name == b"server" for name, _ in self.encoded_headers):
            self.encoded_headers.insert(0, (b"server", b"tricorn"))
        self.loaded = True

    def _exit(self, error: Exception, code: int) -> NoReturn:
        logger.error("%s", error)
        sys.exit(code)

    def load_app(self) -> Any:
        """Import what ``app`` names and return it, as it is; exits with 3 when it can't be had."""
        if not isinstance(self.app, str):
            return self.app
        try:
            return locate(self.app, self.options.get("app_dir", ""))
        except AppError as error:
            self._exit(error, STARTUP_FAILURE)

    def _make_context(self, settings: Settings) -> ssl.SSLContext | None:
        if self.ssl_context_factory is None:
            return load_tls(settings)

        def default() -> ssl.SSLContext:
            context = load_tls(settings)
            if context is None:
                raise RuntimeError("ssl_context_factory: the default factory needs ssl_certfile")
            return context

        context = self.ssl_context_factory(self, default)
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"ssl_context_factory must return an ssl.SSLContext, not {type(context).__name__}")
        return context

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """What makes the event loop; one that is given is run as it is, and closed at the end."""
        if isinstance(given := self.loop, asyncio.AbstractEventLoop):
            return lambda: given
        if callable(given):
            return given
        return loop_factory(self.settings().loop, self.options.get("app_dir", ""))

    def bind_socket(self) -> socket.socket:
        """The first listening socket that the settings ask for, inheritable; exits when it can't be had."""
        try:
            listeners = bind(self.settings())
        except ConfigError as error:
            self._exit(error, error.exit_code)
        first, *more = listeners.sockets
        for one in more:
            one.close()
        where = url(first.family, first.getsockname(), "https" if self.is_ssl else "http")
        logger.info("Tricorn running on %s (press CTRL+C to quit)", where)
        first.set_inheritable(True)
        return first


def adapt(name: str, value: Any) -> Any:
    """``value`` in the type of the option ``name``, where uvicorn takes it in another: paths, switches by their truth, text.

    None means that the option is not given, and so does "" where that is the default. Raises ConfigError for text that means
    nothing in the option's type. What is of a wrong type otherwise is returned as it is, for ``configure`` to refuse.
    """
    kind = OPTIONS[name].kind
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value == "" and DEFAULTS[name] is None:
        return None
    if kind is bool and value == "":
        return False
    if isinstance(value, str):
        return OPTIONS[name].convert(value) if kind is not str else value
    if kind is bool and isinstance(value, int):
        return bool(value)
    # Members of the ssl module's enumerations are numbers, too, and so is 1e6.
    if kind is int and (isinstance(value, IntEnum) or (isinstance(value, float) and value.is_integer())):
        return int(value)
    return value


def same_fields() -> list[str]:
    """The fields that mean the same as the options of their names."""
    return [name for name in Config.__dataclass_fields__ if name in OPTIONS and name not in APART]


def from_settings(settings: Settings) -> Config:
    """A Config that means the same as ``settings``, for which logging is configured already."""
    known: dict[str, Any] = {name: getattr(settings, name) for name in same_fields()}
    return Config(settings.app, **known, log_config=None, options={name: getattr(settings, name) for name in OPTIONS})
