"""``tricorn.Config``: what to serve and how, for Python programs, with uvicorn's names.

A program may change it until it is served. Then it becomes the frozen settings that all of Tricorn reads (config/options.py).
The file is long because uvicorn's keywords are many, and each stands here with what it means.
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
from ..config.option import Option
from ..config.options import DEFAULTS, OPTIONS, configure
from ..config.options import Config as Settings
from ..errors import AppError, ConfigError
from ..logging import TRACE_LOG_LEVEL
from ..logs import config_file as log_configs
from ..logs import setup as logs
from ..protocols.http1.connection import HttpConnection
from ..supervisor.listeners import bind, url
from ..worker.interfaces import complete, guess
from ..worker.loader import locate_app, resolve
from ..worker.main import loop_factory
from ..worker.tls import load as load_tls
from .lifespan import LifespanOff, LifespanOn

logger = logging.getLogger("tricorn.error")

PRISTINE = copy.deepcopy(LOGGING_CONFIG)
SET_BY_PROGRAM = "set by the program"
"""The value of ``--log-config`` if the program has configured logging in another way than by a file."""

ContextFactory = Callable[["Config", Callable[[], ssl.SSLContext]], ssl.SSLContext]


@dataclass(eq=False)
class Config:
    """All of uvicorn's keywords, in uvicorn's order; ``options`` are further options of Tricorn, by name.

    A keyword is an option of the same name (or of that name for uvicorn), and has its default. None leaves an option at its
    default, except where the option says what None means (``Option.none``). Keywords without an option follow the program's
    own process. Making a Config configures logging and reads ``env_file``. It raises ConfigError for a file that can't be read;
    :meth:`settings` finds other mistakes.
    """

    app: Any
    # None and "" are every address of the machine, as for asyncio's create_server.
    host: str | tuple[str, ...] | None = DEFAULTS["host"][0]
    # None is a port that the kernel chooses.
    port: int | str | None = DEFAULTS["port"]
    uds: str | None = DEFAULTS["uds"]
    fd: int | None = DEFAULTS["fd"]
    # For a server in this process also an event loop, or a function that makes one.
    loop: str | asyncio.AbstractEventLoop | Callable[[], asyncio.AbstractEventLoop] = DEFAULTS["loop"]
    http: str = DEFAULTS["http"]
    http2: bool = DEFAULTS["http2"]
    ws: str = DEFAULTS["ws"]
    ws_max_size: int = DEFAULTS["ws_max_size"]
    ws_max_queue: int = DEFAULTS["ws_max_queue"]
    ws_ping_interval: float | None = DEFAULTS["ws_ping_interval"]
    ws_ping_timeout: float | None = DEFAULTS["ws_ping_timeout"]
    ws_per_message_deflate: bool = DEFAULTS["ws_per_message_deflate"]
    lifespan: str = DEFAULTS["lifespan"]
    env_file: str | os.PathLike[str] | None = DEFAULTS["env_file"]
    # Also a RawConfigParser or an open file, both in the ini format. None leaves logging alone.
    log_config: dict[str, Any] | str | os.PathLike[str] | Any | None = field(default_factory=lambda: LOGGING_CONFIG)
    log_level: str | int | None = None
    access_log: bool = DEFAULTS["access_log"]
    use_colors: bool | None = DEFAULTS["use_colors"]
    interface: str = DEFAULTS["interface"]
    reload: bool = DEFAULTS["reload"]
    reload_dirs: list[str] | list[Path] | str | None = None
    reload_delay: float = DEFAULTS["reload_delay"]
    reload_includes: list[str] | str | None = None
    reload_excludes: list[str] | str | None = None
    workers: int | None = None
    proxy_headers: bool = DEFAULTS["proxy_headers"]
    server_header: bool = DEFAULTS["server_header"]
    date_header: bool = DEFAULTS["date_header"]
    forwarded_allow_ips: list[str] | str | None = None
    root_path: str = DEFAULTS["root_path"]
    limit_concurrency: int | None = DEFAULTS["limit_concurrency"]
    limit_max_requests: int | None = DEFAULTS["limit_max_requests"]
    limit_max_requests_jitter: int = DEFAULTS["limit_max_requests_jitter"]
    backlog: int = DEFAULTS["backlog"]
    timeout_keep_alive: float = DEFAULTS["timeout_keep_alive"]
    # Seconds between two calls of callback_notify.
    timeout_notify: float = 30
    timeout_graceful_shutdown: float | None = None
    timeout_worker_healthcheck: float | None = None
    callback_notify: Callable[[], Awaitable[None]] | None = None
    ssl_keyfile: str | os.PathLike[str] | None = DEFAULTS["ssl_keyfile"]
    ssl_certfile: str | os.PathLike[str] | None = DEFAULTS["ssl_certfile"]
    ssl_keyfile_password: str | None = DEFAULTS["ssl_keyfile_password"]
    ssl_version: int = DEFAULTS["ssl_version"]
    ssl_cert_reqs: int = DEFAULTS["ssl_cert_reqs"]
    ssl_ca_certs: str | os.PathLike[str] | None = DEFAULTS["ssl_ca_certs"]
    ssl_ciphers: str | None = DEFAULTS["ssl_ciphers"]
    ssl_context_factory: ContextFactory | None = None
    headers: list[tuple[str, str]] | None = None
    factory: bool = DEFAULTS["factory"]
    h11_max_incomplete_event_size: int | None = DEFAULTS["h11_max_incomplete_event_size"]
    reset_contextvars: bool = DEFAULTS["reset_contextvars"]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loaded = False
        self.loaded_app: Any = None
        self.ssl: ssl.SSLContext | None = None
        self.headers = [(str(name), str(value)) for name, value in self.headers or ()]
        self.encoded_headers: list[tuple[bytes, bytes]] = []
        for name in ("reload_dirs", "reload_includes", "reload_excludes"):
            value = getattr(self, name)
            setattr(self, name, [value] if isinstance(value, str) else list(value or ()))
        self.reload_dirs_excludes: list[Path] = []
        """Directories that ``reload`` does not watch."""
        if self.should_reload:
            self._find_directories()
        self._environment = EnvironmentFile(os.environ)
        self._environment.load(os.fspath(self.env_file) if self.env_file else None)
        if isinstance(self.log_config, io.IOBase):
            # A file can be read only once, and only in this process.
            settings = ConfigParser()
            settings.read_file(self.log_config)  # type: ignore[arg-type]  # a file of text
            self.log_config = settings
        # Uvicorn knows no server without workers.
        self.workers = adapt(OPTIONS["workers"], self.workers or None)
        self._read_environment()
        self._noted: set[str] = set()
        """Notes on options that were logged already."""
        self.configure_logging()

    def _read_environment(self) -> None:
        """As uvicorn, read few of the variables that the command reads: those without a prefix."""
        for known in OPTIONS.values():
            if known.env and getattr(self, known.keyword) is None:
                text = next(filter(None, map(os.environ.get, known.env)), None)
                setattr(self, known.keyword, known.default if text is None else known.convert(text))

    def _find_directories(self) -> None:
        """Make the paths of watched and unwatched directories absolute."""
        app_dir = self.options.get("app_dir", "")
        wanted = self.reload_dirs or [".", *([app_dir] if app_dir else [])]
        self.reload_dirs = list(dict.fromkeys(Path(one).resolve() for one in wanted))
        self.reload_dirs_excludes = [Path(one).resolve() for one in self.reload_excludes or () if Path(one).is_dir()]

    @property
    def is_ssl(self) -> bool:
        """Whether TLS is served."""
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @property
    def use_subprocess(self) -> bool:
        """Whether ``tricorn.run`` starts a supervisor."""
        return bool(self.reload or (self.workers or 1) > 1)

    @property
    def should_reload(self) -> bool:
        """Whether saved files cause reloads: only of an application that is named."""
        return isinstance(self.app, str) and self.reload

    @property
    def asgi_version(self) -> str:
        """The version of ASGI that the application speaks, ``2.0`` or ``3.0``."""
        return "2.0" if self.interface == "asgi2" else "3.0"

    @property
    def http_protocol_class(self) -> type[asyncio.Protocol]:
        """The class of connections. For programs to look at; only a worker can make one."""
        return HttpConnection

    @property
    def ws_protocol_class(self) -> type[asyncio.Protocol] | None:
        """The class of WebSocket connections; None if WebSocket is off."""
        if self.ws == "none" or self.interface == "wsgi":
            return None
        from ..protocols.websocket.connection import WebSocketConnection

        return WebSocketConnection

    @property
    def lifespan_class(self) -> type[LifespanOn]:
        """The class that runs the application's lifespan, for programs that do so themselves."""
        return LifespanOff if self.lifespan == "off" else LifespanOn

    # -------------------------------------------------------------------------------------------------------- settings

    def settings(self) -> Settings:
        """The same as frozen settings. Raises ConfigError for what is not possible."""
        if self.use_subprocess and not isinstance(self.loop, str | None):
            raise ConfigError("--loop: workers of a supervisor need its name, MODULE:ATTRIBUTE")
        given = {known.name: self._value_of(known) for known in OPTIONS.values() if known.keyword in KEYWORDS}
        if not self.is_ssl:
            # Uvicorn ignores them then, and programs pass their defaults.
            given = {name: value for name, value in given.items() if not name.startswith("ssl_")}
        # None is not given: the default holds.
        given = {name: value for name, value in given.items() if value is not None}
        return self._check({**given, **self.options})

    def _value_of(self, known: Option) -> Any:
        value = MEANINGS[known.name](self) if known.name in MEANINGS else getattr(self, known.keyword)
        return adapt(known, known.none if value is None else value)

    def environment(self) -> dict[str, str]:
        """The process's environment without the variables of ``env_file``."""
        return self._environment.without()

    def supervised(self, bind: tuple[str, ...]) -> Settings:
        """The settings for a supervisor; if there is ``bind``, it listens there instead."""
        elsewhere = {name: known.default for name, known in OPTIONS.items() if known.excluded_by == "bind"}
        return replace(self.settings(), **elsewhere, bind=bind) if bind else self.settings()

    def _check(self, given: dict[str, Any]) -> Settings:
        for name, value in list(given.items()):
            known = OPTIONS.get(name)
            if known is None:
                raise ConfigError(f"{name} = {value!r}: no such option")
            if callable(value):
                shown, choices = getattr(value, "__name__", repr(value)), ", ".join(known.choices)
                named = " or a name, MODULE:ATTRIBUTE" if known.custom else ""
                raise ConfigError(f"{known.flag} {shown}: Tricorn takes no classes or functions here, but {choices}{named}")
            if isinstance(value, str) and (known.unit or known.choices):
                value = given[name] = known.convert(value)
            if known.is_inapplicable(value):
                self._note(f"{known.show(value)}: {known.inapplicable[value]}")
                del given[name]
        if given.get("loop") == "none":
            # Uvicorn's word for a loop that the program runs itself.
            given["loop"] = "asyncio"
        return configure(**given)

    def _note(self, text: str) -> None:
        """Log a note once, however often the settings are asked for."""
        if text not in self._noted:
            self._noted.add(text)
            logger.warning("%s", text)

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
        """Configure logging by ``log_config`` and ``log_level``; not at all if ``log_config`` is None."""
        logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
        if self._logs_as_usual():
            further = {name: value for name, value in self.options.items() if name in LOG_OPTIONS}
            colors = adapt(OPTIONS["use_colors"], self.use_colors)
            settings = Settings(use_colors=colors, log_level=self._level_name(), **further)
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

    # ------------------------------------------------------------------------------------------------------------ load

    def load(self) -> None:
        """Import the application and read the certificate. Exits with 3 if the application can't be imported."""
        settings = self.settings()
        try:
            found = resolve(self.load_app(), str(self.app), self.factory)
            if self.interface == "auto":
                self.interface = guess(found, str(self.app))
        except AppError as error:
            self._exit(error, error.exit_code)
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
        """Import and return the object that ``app`` names. Exits with 3 if it can't be imported."""
        if not isinstance(self.app, str):
            return self.app
        try:
            return locate_app(self.app, self.options.get("app_dir", ""))
        except AppError as error:
            self._exit(error, error.exit_code)

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
        """The function that makes the event loop. A loop that the program gave is used as it is, and closed at the end."""
        if isinstance(given := self.loop, asyncio.AbstractEventLoop):
            return lambda: given
        if callable(given):
            return given
        return loop_factory(self.settings().loop, self.options.get("app_dir", ""))

    def bind_socket(self) -> socket.socket:
        """Open the first listening socket of the settings, inheritable. Exits if that fails."""
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


def adapt(known: Option, value: Any) -> Any:
    """``value`` in the option's type, where uvicorn takes another: paths, text, one value for many, whatever is true or false.

    None means that the option is not given, and so does "" where None is the default. Raises ConfigError for text that has no
    meaning in the option's type. Other values of a wrong type are returned as they are, and ``configure`` refuses them.
    """
    if known.is_repeatable and value is not None:
        values = value if isinstance(value, list | tuple) else (value,)
        return tuple(os.fspath(one) if isinstance(one, os.PathLike) else one for one in values)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value == "" and known.default is None:
        return None
    if known.kind is bool and value == "":
        return False
    if isinstance(value, str):
        return known.convert(value) if known.kind is not str else value
    if known.kind is bool and isinstance(value, int):
        return bool(value)
    # Members of the ssl module's enumerations are numbers, too, and so is 1e6.
    if known.kind is int and (isinstance(value, IntEnum) or (isinstance(value, float) and value.is_integer())):
        return int(value)
    return value


KEYWORDS = frozenset(Config.__dataclass_fields__)

MEANINGS: Mapping[str, Callable[[Config], Any]] = {
    "app": lambda config: config.app if isinstance(config.app, str) else "",
    "loop": lambda config: config.loop if isinstance(config.loop, str) else None,
    # It was read when the Config was made.
    "env_file": lambda config: None,
    "log_config": lambda config: None if config._logs_as_usual() else SET_BY_PROGRAM,
    "log_level": lambda config: config._level_name(),
    "header": lambda config: [f"{name}:{value}" for name, value in config.headers or ()],
    "forwarded_allow_ips": lambda config: (
        allowed if isinstance(allowed := config.forwarded_allow_ips, str) else ",".join(allowed or ())
    ),
}
"""Options whose keywords have another meaning, with what the keyword says of the option."""

LOG_OPTIONS = frozenset(name for name, known in OPTIONS.items() if known.excluded_by == "log_config")
"""How Tricorn's own log is written."""


def from_settings(settings: Settings) -> Config:
    """A Config that means the same as ``settings``, for which logging is configured already."""
    same = {
        known.keyword: getattr(settings, name)
        for name, known in OPTIONS.items()
        if known.keyword in KEYWORDS and name not in MEANINGS
    }
    return Config(settings.app, **same, log_config=None, options={name: getattr(settings, name) for name in OPTIONS})
