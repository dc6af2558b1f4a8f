"""Every option of Tricorn, each with its one home: a field of :class:`Config`.

A field carries its name, type, default, help, unit and constraint. The command line's flag (``--timeout-keep-alive``), the
environment variable (``TRICORN_TIMEOUT_KEEP_ALIVE``) and the row in the documentation all follow from the field; nothing about
an option is written anywhere else, but for functions of ``judges`` that it names. This module is a leaf: of Tricorn it imports
only leaves.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError
from .frozen import Value
from .validators import judge_app, judge_bind, judge_header, judge_hooks, judge_mode, parse_switch, parse_workers


class Option(Value):
    """What is known of an option beside its name and type."""

    help: str
    default: Any = None
    unit: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    env: tuple[str, ...] = ()
    """Further environment variables, read when ``TRICORN_<NAME>`` is not set."""
    separator: str | None = None
    """What separates the values of a repeatable option in an environment variable (any white space if None)."""
    needs: Mapping[str, str] = {}
    """Which package a choice needs: it must be installed."""
    worded: bool = False
    """A switch that takes the word true or false as its value, as uvicorn's of that name does, instead of having a negative."""
    parse: Callable[[str], Any] | None = None
    """From text to value, where the type alone does not say how. Raises ValueError."""
    judge: Callable[[Any], str | None] | None = None
    """What is wrong with a value, beyond its type; None if nothing is."""
    custom: bool = False
    """Whether MODULE:ATTRIBUTE is taken beside the choices."""
    inapplicable: Mapping[Any, str] = {}
    """Values that mean something to uvicorn and nothing here, and what is to be said then: the default is taken instead."""
    uvicorn: str = ""
    """Uvicorn's name of the option, if it is another."""


def option(default: Any, help: str, **details: Any) -> Any:
    """A field of :class:`Config` with its :class:`Option`."""
    return Option(help, default, **details)


LOG_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")


class Config(Value):
    """All settings of one supervisor and its workers.

    Raises :class:`ConfigError` when a value has the wrong type or breaks its option's constraint.
    """

    app: str = option("", "The ASGI application: MODULE:ATTRIBUTE.", judge=judge_app)
    config: str | None = option(
        None, "File of settings, in TOML; by default the table [tool.tricorn] of ./pyproject.toml, if there is one."
    )
    env_file: str | None = option(None, "File of environment variables, for the application and for Tricorn.")
    host: tuple[str, ...] = option(("127.0.0.1",), "Address to listen on; may be given several times.")
    port: int = option(8000, "TCP port to listen on; 0 picks a free one and prints it.", minimum=0, maximum=65535)
    uds: str | None = option(None, "UNIX socket to listen on, instead of host and port.")
    fd: int | None = option(None, "Listen on the socket inherited as this descriptor, instead of host and port.", minimum=0)
    bind: tuple[str, ...] = option(
        (),
        "Where to listen, instead of host and port: HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N; may be given several times.",
        judge=judge_bind,
    )
    uds_permissions: str = option("666", "Who may connect to UNIX sockets: the files' mode, in octal.", judge=judge_mode)
    workers: int = option(
        1,
        "Worker processes; 'auto' is as many as the machine or container has CPUs for, 0 serves without a supervisor.",
        minimum=0,
        env=("WEB_CONCURRENCY",),
        parse=parse_workers,
    )
    reload: bool = option(False, "For development: serve new code as soon as a file is saved.")
    reload_dir: tuple[str, ...] = option(
        (), "Directory to watch, instead of the current one and --app-dir; may be given several times.", uvicorn="reload_dirs"
    )
    reload_include: tuple[str, ...] = option(
        (), "Glob of files to watch beside *.py, or a directory; may be repeated.", uvicorn="reload_includes"
    )
    reload_exclude: tuple[str, ...] = option(
        (),
        "Glob of files not to watch beside .*, .py[cod], .sw.* and ~*, or a directory; may be repeated.",
        uvicorn="reload_excludes",
    )
    reload_delay: float = option(0.25, "Reload at most once in this time.", unit="s", minimum=0)
    reload_poll: bool = option(
        False, "Look at all watched files again and again; chosen by itself on file systems that are known to need it."
    )
    reload_warm: bool = option(True, "Import installed packages once and not at every reload.")
    backlog: int = option(2048, "Connections that may wait to be accepted.", minimum=0)
    app_dir: str = option("", "Directory to import the application from; the current one by default.")
    factory: bool = option(False, "Treat APP as a function without arguments that returns the application.")
    interface: str = option(
        "auto",
        "What the application speaks; 'auto' tells ASGI 3 from ASGI 2.",
        choices=("auto", "asgi3", "asgi2", "wsgi"),
        needs={"wsgi": "a2wsgi"},
    )
    reset_contextvars: bool = option(False, "Answer each request in an empty contextvars.Context.")
    lifespan: str = option(
        "auto", "ASGI lifespan: 'auto' goes on without where the application does not speak it.", choices=("auto", "on", "off")
    )
    loop: str = option(
        "auto",
        "Event loop, or MODULE:ATTRIBUTE of a function that makes one; 'auto' is uvloop where it is installed.",
        choices=("auto", "asyncio", "uvloop"),
        needs={"uvloop": "uvloop"},
        custom=True,
        inapplicable={"zuvloop": "Tricorn does not run on it; --loop auto serves instead"},
    )
    http: str = option(
        "auto",
        "HTTP/1.1 codec.",
        choices=("auto", "h11", "httptools"),
        needs={"httptools": "httptools"},
        inapplicable={"zttp": "Tricorn does not parse with it; --http auto serves instead"},
    )
    http2: bool = option(
        False,
        "Taken as uvicorn's, for HTTP/1.1 is all there is: put a proxy before Tricorn for HTTP/2.",
        inapplicable={True: "Tricorn speaks HTTP/1.1; put a proxy before it that speaks HTTP/2"},
    )
    ws: str = option(
        "auto",
        "WebSocket reader; 'auto' is wsproto behind a fast lane for plain frames, 'none' leaves WebSocket out.",
        choices=("auto", "wsproto", "websockets", "websockets-sansio", "none"),
        needs={"websockets": "websockets", "websockets-sansio": "websockets"},
    )
    ws_max_size: int = option(16777216, "Largest WebSocket message taken.", unit="bytes", minimum=1)
    ws_max_queue: int = option(32, "WebSocket messages that may wait for the application before reading pauses.", minimum=1)
    ws_ping_interval: float = option(20, "Ping a WebSocket's client this often; 0 for never.", unit="s", minimum=0)
    ws_ping_timeout: float = option(
        20, "Close a WebSocket whose client is silent for this long after a ping; 0 for never.", unit="s", minimum=0
    )
    ws_per_message_deflate: bool = option(True, "Compress WebSocket messages if the client can.", worded=True)
    root_path: str = option("", "ASGI root_path: where a proxy mounts the application.")
    proxy_headers: bool = option(True, "Take client and scheme from X-Forwarded-For, -Proto or Forwarded of trusted peers.")
    forwarded_allow_ips: str = option(
        "127.0.0.1,::1",
        "Peers trusted to tell of their clients: addresses, networks, 'unix:', socket paths; '*' for all.",
        env=("FORWARDED_ALLOW_IPS",),
    )
    proxy_protocol: bool = option(False, "Trusted peers begin every connection with a PROXY protocol header, version 1 or 2.")
    ssl_keyfile: str | None = option(None, "Private key for TLS, in PEM; by default the certificate's file holds it, too.")
    ssl_certfile: str | None = option(None, "Certificate chain in PEM, our own first: serve TLS.")
    ssl_keyfile_password: str | None = option(None, "Password of an encrypted private key.")
    ssl_version: int = option(17, "TLS versions, as the ssl module's PROTOCOL_ numbers: 17 is 1.2 and newer, 5 is 1.2 alone.")
    ssl_cert_reqs: int = option(0, "Whether clients need a certificate: 0 no, 1 it is checked if they have one, 2 yes.")
    ssl_ca_certs: str | None = option(None, "Certificates, in PEM, of those who sign clients' certificates.")
    ssl_ciphers: str | None = option(None, "Ciphers for TLS 1.2, in OpenSSL's notation; OpenSSL's own choice by default.")
    log_config: str | None = option(
        None, "File that configures Python's logging, in place of Tricorn's log: .json, .yaml, .yml, otherwise ini."
    )
    log_level: str = option("info", "Least severe messages to log.", choices=LOG_LEVELS)
    access_log: bool = option(True, "Log a line for every request.")
    access_log_format: str | None = option(
        None, "Format of the access log: gunicorn's atoms, such as %(h)s, or 'json' for all there is to say of a request."
    )
    log_format: str = option("text", "Write the logs as text, or each line as a JSON object.", choices=("text", "json"))
    error_log_file: str | None = option(None, "File to log to instead of standard error; opened again on USR1.")
    access_log_file: str | None = option(None, "File for the access log instead of standard output; opened again on USR1.")
    use_colors: bool | None = option(
        None, "Colours in the log; by default where it goes to a terminal and NO_COLOR is not set."
    )
    underscores_in_headers: bool = option(
        True, "Give ASGI applications headers that have an underscore in their names; WSGI applications get none of those."
    )
    pathsend: bool = option(
        False, "Offer applications http.response.pathsend: files go out by sendfile, and past middleware that reads bodies."
    )
    header: tuple[str, ...] = option(
        (),
        "Header to add to every response, as Name:Value; may be given several times.",
        separator="\n",
        uvicorn="headers",
        judge=judge_header,
    )
    server_header: bool = option(True, "Send a Server header.")
    date_header: bool = option(True, "Send a Date header.")
    timeout_keep_alive: float = option(
        5, "Close a keep-alive connection after this long without a request.", unit="s", minimum=0
    )
    timeout_request_head: float = option(
        10, "Close a connection whose request head takes longer than this.", unit="s", minimum=0
    )
    timeout_request_body: float = option(
        60, "Close a connection that pauses for longer than this in the middle of a request's body.", unit="s", minimum=0.1
    )
    timeout_send: float = option(
        60,
        "Cut off a client that takes nothing of what is sent to it for this long; a slow one has all the time it needs.",
        unit="s",
        minimum=0.1,
    )
    timeout_ssl_handshake: float = option(
        10, "Close a connection whose TLS handshake takes longer than this.", unit="s", minimum=0.1
    )
    timeout_graceful_shutdown: float = option(
        30,
        "How long requests in flight may take to finish on a stop, reload or recycling; 1 s with --reload.",
        unit="s",
        minimum=0,
    )
    timeout_worker_startup: float = option(
        60, "How long a worker may take from its fork until it is ready; a day with --reload.", unit="s", minimum=0.1
    )
    timeout_worker_healthcheck: float = option(
        30, "Replace a worker whose event loop has not turned for this long; a day with --reload.", unit="s", minimum=2
    )
    limit_concurrency: int | None = option(
        None, "Connections of a worker above which new ones are answered 503 with Retry-After.", minimum=1
    )
    limit_request_line: int = option(
        16384, "Longest request line: method, target and version; as long as large proxies forward.", unit="bytes", minimum=64
    )
    limit_request_fields: int = option(200, "Headers of a request; browsers send about 20, and proxies add theirs.", minimum=1)
    limit_request_field_size: int = option(
        16384, "Longest header of a request, with its name and end; as long as large proxies forward.", unit="bytes", minimum=64
    )
    limit_request_head: int = option(
        65536,
        "Largest request head: the request line and all headers; as large as large proxies take.",
        unit="bytes",
        minimum=256,
    )
    h11_max_incomplete_event_size: int | None = option(
        None, "Uvicorn's name for --limit-request-head; the limits of its lines follow, if not set.", unit="bytes", minimum=256
    )
    limit_request_trailers: int = option(
        8192, "Largest trailer section of a chunked body, and extensions of one chunk.", unit="bytes", minimum=64
    )
    limit_request_body: int | None = option(None, "Largest request body; above it the answer is 413.", unit="bytes", minimum=0)
    limit_request_body_rate: int = option(
        240,
        "Least bytes a second of a request's body that goes on for longer than a pause may, as Kestrel's; 0 for none.",
        minimum=0,
    )
    limit_request_buffer: int = option(
        65536,
        "How much of one connection's requests, or of its response, may wait in memory before the sender is paused.",
        unit="bytes",
        minimum=1024,
    )
    limit_max_requests: int | None = option(None, "Replace a worker after this many requests; 0 for never.", minimum=0)
    limit_max_requests_jitter: int = option(0, "Add a random number up to this to --limit-max-requests.", minimum=0)
    limit_max_lifetime: float | None = option(
        None, "Replace a worker after about this long (up to a tenth longer, at random).", unit="s", minimum=1
    )
    limit_max_rss: int | None = option(None, "Replace a worker that uses more memory than this.", unit="MiB", minimum=1)
    limit_crashes: int | None = option(
        None, "Give up (exit code 4) after more than this many crashes of workers in a minute.", minimum=0
    )
    surge: int = option(1, "Workers above --workers while some are being replaced.", minimum=1)
    chdir: str | None = option(None, "Change to this directory before anything else, once the file of settings is found.")
    user: str | None = option(
        None, "Run workers as this user, by name or number; a supervisor that root has started stays root."
    )
    group: str | None = option(None, "Run workers as this group, by name or number; by default the user's own.")
    umask: str | None = option(None, "Which permissions new files do not get, in octal.", judge=judge_mode)
    pid_file: str | None = option(
        None, "File to write the supervisor's process id to; locked while it lives, removed at the end."
    )
    hooks: str | None = option(
        None,
        "Functions to call in the lives of workers and fleet: MODULE, or MODULE:OBJECT with methods such as on_worker_start.",
        judge=judge_hooks,
    )
    shutdown_delay: float = option(
        0, "On SIGTERM, keep serving for this long while telling load balancers 'not ready'.", unit="s", minimum=0
    )
    ready_path: str | None = option(
        None, "Path at which the server itself answers 200 'ready', or 503 once a stop was announced (see --shutdown-delay)."
    )

    def __post_init__(self) -> None:
        # Only what was given: the defaults obey their constraints, which a test has seen to.
        for name, value in vars(self).items():
            check(name, value)


OPTIONS: Mapping[str, Option] = {name: known for name, known in vars(Config).items() if isinstance(known, Option)}
DEFAULTS: Mapping[str, Any] = {name: known.default for name, known in OPTIONS.items()}
for _name, _default in DEFAULTS.items():
    # What a Config gets that is not told otherwise.
    setattr(Config, _name, _default)

TYPES: Mapping[str, str] = Config.__annotations__
"""As they are written: ``int``, ``int | None``, ``tuple[str, ...]``."""
SCALARS: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}

DEVELOPMENT: Mapping[str, Any] = {
    # A developer who saves a file or presses Ctrl-C waits for no event stream to end.
    "timeout_graceful_shutdown": 1,
    # A worker that stands at a breakpoint is not hung.
    "timeout_worker_startup": 86400,
    "timeout_worker_healthcheck": 86400,
}
"""Defaults that differ with ``--reload``."""


NEED_SUPERVISOR = (
    *("reload", "limit_max_rss", "limit_crashes", "surge", "shutdown_delay", "user", "group", "pid_file", "hooks"),
)
"""Options that mean nothing where one process serves without a supervisor."""


def configure(**given: Any) -> Config:
    """The Config of the options ``given``, with the defaults that ``--reload`` changes. Raises ConfigError."""
    return Config(**{**DEVELOPMENT, **given} if given.get("reload") else given)


def flag(name: str) -> str:
    """What the operator types for the option ``name``."""
    return "APP" if name == "app" else "--" + name.replace("_", "-")


def is_switch(name: str) -> bool:
    """Whether the option's flag takes no value."""
    return scalar_type(name) is bool and not OPTIONS[name].worded


def negative_flag(name: str) -> str | None:
    """What switches a switch off; None for one that is off by default, as with uvicorn's."""
    return None if DEFAULTS[name] is False else f"--no-{flag(name)[2:]}"


def is_repeatable(name: str) -> bool:
    return TYPES[name].startswith("tuple[")


def scalar_type(name: str) -> type:
    """The type of one value: ``int`` for ``int | None`` and ``str`` for ``tuple[str, ...]``."""
    return SCALARS[TYPES[name].removeprefix("tuple[").removesuffix(", ...]").removesuffix(" | None")]


def convert(name: str, text: str) -> Any:
    """One value of the option ``name`` from what stands on a command line or in the environment.

    Raises :class:`ConfigError` naming option, value and cause.
    """
    kind = scalar_type(name)
    parse = OPTIONS[name].parse or (parse_switch if kind is bool else kind)
    try:
        return parse(text)
    except ValueError:
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "something else")
        raise ConfigError(f"{flag(name)} {text}: must be {wanted}") from None


def read(name: str, text: str) -> Any:
    """As :func:`convert`, and checked, unless the default will be taken in its place. Raises :class:`ConfigError`."""
    value = convert(name, text)
    if value not in OPTIONS[name].inapplicable:
        check(name, value)
    return value


def check(name: str, value: Any) -> None:
    """Whether ``value`` has the option's type and obeys its constraint; raises :class:`ConfigError` if not."""
    if value is None and DEFAULTS[name] is None:
        return
    known, kind = OPTIONS[name], scalar_type(name)
    values: tuple[Any, ...] = value if is_repeatable(name) and isinstance(value, tuple) else (value,)
    for one in values:
        # To Python true and false are numbers, too; to an operator they are not.
        fits = isinstance(one, (int, float) if kind is float else kind) and (kind is bool or not isinstance(one, bool))
        if not fits:
            raise ConfigError(f"{flag(name)} {one!r}: must be of type {kind.__name__}")
        if kind is float and not math.isfinite(one):
            raise ConfigError(f"{flag(name)} {one}: must be a finite number")
        if known.judge is not None and (cause := known.judge(one)) is not None:
            raise ConfigError(f"{flag(name)} {one}: {cause}")
        if known.choices and one not in known.choices and not (known.custom and ":" in one):
            raise ConfigError(f"{flag(name)} {one}: must be one of {', '.join(known.choices)}")
        if one in known.needs and importlib.util.find_spec(known.needs[one]) is None:
            raise ConfigError(f"{flag(name)} {one}: {known.needs[one]} is not installed (pip install {known.needs[one]})")
        if known.minimum is not None and one < known.minimum:
            raise ConfigError(f"{flag(name)} {one}: must be at least {known.minimum}")
        if known.maximum is not None and one > known.maximum:
            raise ConfigError(f"{flag(name)} {one}: must be at most {known.maximum}")
