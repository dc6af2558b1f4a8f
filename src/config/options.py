"""Every option of Tricorn, each with its one home: a field of :class:`Config`.

A field carries name, type, default, help, constraints and all else that is known of the option (see option.py). Its flag
(``--timeout-keep-alive``), environment variable (``TRICORN_TIMEOUT_KEEP_ALIVE``), key in a file and row in the documentation
follow from that. To add an option, add a field; ``--help`` shows sections and options in the order of the fields. The first
option of a section names it.

The file is long because it is one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .frozen import Value
from .option import Option, option
from .option import flag as flag
from .validators import (
    parse_workers,
    wrong_admin_bind,
    wrong_app,
    wrong_bind,
    wrong_header,
    wrong_hooks,
    wrong_mode,
    wrong_otlp_endpoint,
    wrong_path,
    wrong_prefix,
    wrong_share,
    wrong_stall,
    wrong_statsd,
    wrong_statsd_prefix,
)

LAST_PARTING = 2.0
"""Seconds that clients whose WebSocket was closed last by ``--drain-over`` get to answer that."""
LOG_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")


class Config(Value):
    """All settings of one supervisor and its workers.

    Raises :class:`ConfigError` when a value has the wrong type or breaks its option's constraint.
    """

    app: str = option(
        "",
        "The ASGI application: MODULE:ATTRIBUTE; of MODULE or FILE.py it is 'app' or 'application'.",
        section="Application",
        validator=wrong_app,
    )
    app_dir: str = option("", "Import the application from this directory; by default the current one.", completes="dir")
    chdir: str | None = option(
        None, "Change to this directory first, after the file of settings is found.", once=True, completes="dir"
    )
    config: str | None = option(
        None,
        "File of settings, in TOML; by default the table [tool.tricorn] of ./pyproject.toml, if there is one.",
        in_file=False,
    )
    env_file: str | None = option(None, "Read environment variables from this file, for the application and for Tricorn.")
    factory: bool = option(False, "APP is a function without arguments that returns the application.")
    interface: str = option(
        "auto",
        "Interface of the application; 'auto' tells ASGI 3 from ASGI 2.",
        choices=("auto", "asgi3", "asgi2", "wsgi"),
        needs_package={"wsgi": "a2wsgi"},
    )
    lifespan: str = option(
        "auto",
        "ASGI lifespan events; 'auto' goes on without them if the application does not support them.",
        choices=("auto", "on", "off"),
    )
    root_path: str = option("", "ASGI root_path: the path under which a proxy mounts the application.")
    reset_contextvars: bool = option(False, "Run the application for each request in an empty contextvars.Context.")
    host: tuple[str, ...] = option(
        ("127.0.0.1",),
        "Address to listen on; may be given several times.",
        section="Listening",
        none=("",),
        once=True,
        excluded_by="bind",
        overruled_by=("fd", "uds"),
    )
    port: int = option(
        8000,
        "TCP port to listen on; 0 picks a free one and logs it.",
        minimum=0,
        maximum=65535,
        none=0,
        once=True,
        excluded_by="bind",
        overruled_by=("fd", "uds"),
    )
    bind: tuple[str, ...] = option(
        (),
        "Where to listen, instead of host and port: HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N; may be given several times.",
        validator=wrong_bind,
        once=True,
    )
    uds: str | None = option(
        None, "UNIX socket to listen on, instead of host and port.", once=True, excluded_by="bind", overruled_by=("fd",)
    )
    uds_permissions: str = option(
        "666", "Mode of UNIX socket files, in octal: who may connect.", validator=wrong_mode, once=True
    )
    fd: int | None = option(
        None,
        "Listen on the inherited socket with this descriptor, instead of host and port.",
        minimum=0,
        once=True,
        excluded_by="bind",
    )
    backlog: int = option(2048, "Connections that may wait to be accepted.", minimum=0, once=True)
    workers: int = option(
        1,
        "Worker processes; 'auto' is one for each available CPU, 0 serves without a supervisor.",
        section="Processes",
        minimum=0,
        env=("WEB_CONCURRENCY",),
        parse=parse_workers,
    )
    surge: int = option(
        1,
        "Workers above --workers while some are being replaced; with 0 a worker leaves before its successor starts.",
        minimum=0,
        needs_supervisor=True,
    )
    user: str | None = option(
        None,
        "Run workers as this user (name or number); a supervisor that root started stays root.",
        once=True,
        needs_supervisor=True,
    )
    group: str | None = option(
        None, "Run workers as this group (name or number); by default the user's own.", once=True, needs_supervisor=True
    )
    umask: str | None = option(None, "Permissions that new files do not get, in octal.", validator=wrong_mode, once=True)
    pid_file: str | None = option(
        None,
        "Write the supervisor's process id to this file; it is locked while in use and removed at the end.",
        once=True,
        needs_supervisor=True,
    )
    control_socket: str | None = option(
        None,
        "Let tricornctl talk to the supervisor at this file; 'none' turns that off. On Linux it needs no file: @tricorn/PID.",
        once=True,
        needs_supervisor=True,
    )
    admin_bind: str | None = option(
        None,
        "Where an admin process answers /metrics, /livez, /readyz, /status, /events and the dashboard: HOST:PORT or unix:PATH.",
        validator=wrong_admin_bind,
        once=True,
        needs_supervisor=True,
    )
    admin_host: tuple[str, ...] = option(
        (),
        "A name, beside addresses and localhost, under which the dashboard answers; may be given several times.",
        once=True,
        needs_option="admin_bind",
    )
    app_metrics: bool = option(
        False,
        "Merge what the application counts with prometheus_client, in all workers, into /metrics.",
        once=True,
        needs_option="admin_bind",
    )
    statsd: str | None = option(
        None,
        "Send StatsD lines to this HOST:PORT, with gunicorn's names, over UDP, once a second.",
        validator=wrong_statsd,
        once=True,
        needs_supervisor=True,
    )
    statsd_prefix: str = option(
        "",
        "Prefix of the names of StatsD lines; a dot follows it.",
        validator=wrong_statsd_prefix,
        once=True,
        needs_option="statsd",
    )
    otlp_endpoint: str | None = option(
        None,
        "Where to push the metrics to, by OpenTelemetry's protocol over HTTP: a collector's URL, such as http://collector:4318.",
        validator=wrong_otlp_endpoint,
        once=True,
        needs_supervisor=True,
    )
    ready_min: int = option(
        1, "How many workers must be ready for /readyz and 'tricornctl health' to succeed.", minimum=1, needs_supervisor=True
    )
    hooks: str | None = option(
        None,
        "Functions to call when workers start, stop and so on: MODULE, or MODULE:OBJECT with methods such as on_worker_start.",
        validator=wrong_hooks,
        once=True,
        needs_supervisor=True,
    )
    shutdown_delay: float = option(
        0,
        "After SIGTERM, keep serving for this long and report 'not ready' to load balancers.",
        unit="s",
        minimum=0,
        needs_supervisor=True,
    )
    ready_path: str | None = option(
        None, "At this path Tricorn itself answers 200 'ready', or 503 once a stop was announced (see --shutdown-delay)."
    )
    preload: str = option(
        "off",
        "Import installed packages, or the application too, in one process, and fork workers from it: they share its memory.",
        choices=("off", "packages", "app"),
        needs_supervisor=True,
    )
    warm_path: tuple[str, ...] = option(
        (),
        "Before a worker is ready, ask its application for this path; a failure is a failed start; may be given several times.",
        validator=wrong_path,
    )
    limit_max_requests: int | None = option(None, "Replace a worker after this many requests; 0 for never.", minimum=0)
    limit_max_requests_jitter: int = option(0, "Add a random number up to this to --limit-max-requests.", minimum=0)
    limit_max_lifetime: float | None = option(
        None, "Replace a worker after about this long (up to a tenth longer, at random).", unit="s", minimum=1
    )
    limit_max_rss: int | None = option(
        None, "Replace a worker that uses more memory than this.", unit="MiB", minimum=1, needs_supervisor=True
    )
    limit_crashes: int | None = option(
        None, "Give up with exit code 4 if more workers than this crash within a minute.", minimum=0, needs_supervisor=True
    )
    timeout_worker_startup: float = option(
        60, "Kill a worker that is not ready after this long; a day with --reload.", unit="s", minimum=0.1, development=86400
    )
    timeout_worker_healthcheck: float = option(
        30,
        "Replace a worker whose event loop has not turned for this long; a day with --reload.",
        unit="s",
        minimum=2,
        development=86400,
    )
    timeout_graceful_shutdown: float = option(
        30,
        "How long requests in flight may take to finish on a stop, reload or recycling; 1 s with --reload.",
        unit="s",
        minimum=0,
        development=1,
    )
    timeout_graceful_reload: float | None = option(
        None,
        "The same on a reload or recycling; by default as long as on a stop. Streams may need more.",
        unit="s",
        minimum=0,
    )
    reload_canary: str | None = option(
        None,
        "On a reload, let N or N% of the workers serve the new code first, beside the old ones; see --reload-canary-seconds.",
        validator=wrong_share,
        needs_supervisor=True,
    )
    reload_canary_seconds: float = option(
        60,
        "How long canaries serve before the others follow, or they are rolled back because they are worse.",
        unit="s",
        minimum=0.5,
        needs_supervisor=True,
    )
    reload_canary_errors: float = option(
        1,
        "Percent of 5xx responses that canaries may have above the share of the other workers.",
        unit="%",
        minimum=0,
        maximum=100,
        needs_supervisor=True,
    )
    reload_canary_latency: float = option(
        2,
        "95 % of the canaries' responses may take this many times the others' 95th percentile.",
        unit="times",
        minimum=1,
        needs_supervisor=True,
    )
    reload_canary_timeout: float | None = option(
        None,
        "Roll back canaries that still have too few requests after this long; by default ten times their time.",
        unit="s",
        minimum=0.5,
        needs_supervisor=True,
    )
    drain_over: float = option(
        0, "When a worker drains, end its WebSockets and event streams one by one over this time.", unit="s", minimum=0
    )
    report_stalls: float = option(
        1,
        "Log what keeps a worker's event loop from turning for longer than this, and where; 0 for never; 0.25 s with --reload.",
        unit="s",
        minimum=0,
        validator=wrong_stall,
        needs_supervisor=True,
        development=0.25,
    )
    reload: bool = option(
        False,
        "For development: serve new code as soon as a file is saved.",
        section="Development",
        once=True,
        needs_supervisor=True,
    )
    reload_dir: tuple[str, ...] = option(
        (),
        "Watch this directory, instead of the current one and --app-dir; may be given several times.",
        uvicorn="reload_dirs",
        completes="dir",
    )
    reload_include: tuple[str, ...] = option(
        (), "Watch these files too, beside *.py: a glob or a directory; may be given several times.", uvicorn="reload_includes"
    )
    reload_exclude: tuple[str, ...] = option(
        (),
        "Do not watch these files, beside .*, .py[cod], .sw.* and ~*: a glob or a directory; may be given several times.",
        uvicorn="reload_excludes",
    )
    reload_delay: float = option(0.25, "Reload at most once in this time.", unit="s", minimum=0)
    reload_poll: bool = option(
        False, "Find changes by polling; chosen automatically on file systems that are known to need it."
    )
    reload_warm: bool = option(True, "Keep installed packages imported between reloads.", once=True)
    reload_browser: bool | None = option(
        None, "With --reload: HTML pages in a browser on this machine reload themselves after a save; on with 'tricorn dev'."
    )
    log_level: str = option("info", "Least severe messages to log.", section="Log", choices=LOG_LEVELS)
    log_format: str = option(
        "text", "Write the logs as text, or each line as a JSON object.", choices=("text", "json"), excluded_by="log_config"
    )
    log_time: bool | None = option(
        None, "Begin each line of a text log with time and process; by default unless it goes to a terminal or to the journal."
    )
    request_id: bool = option(
        False, "Give each request an id (X-Request-ID) and a trace id (traceparent): in its scope, its response and JSON logs."
    )
    log_config: str | None = option(
        None, "File that configures Python's logging instead of Tricorn's own: .json, .yaml, .yml, otherwise ini."
    )
    error_log_file: str | None = option(
        None, "Write the log to this file instead of standard error; SIGUSR1 opens it again.", excluded_by="log_config"
    )
    access_log: bool = option(True, "Log a line for every request.")
    access_log_file: str | None = option(
        None, "Write the access log to this file instead of standard output; SIGUSR1 opens it again.", excluded_by="log_config"
    )
    access_log_format: str | None = option(
        None,
        "Format of the access log: gunicorn's atoms, such as %(h)s, or 'json' for everything that is known of a request.",
        excluded_by="log_config",
    )
    use_colors: bool | None = option(None, "Use colours in the log; by default on terminals, unless NO_COLOR is set.")
    loop: str = option(
        "auto",
        "Event loop, or MODULE:ATTRIBUTE of a function that makes one; 'auto' is uvloop if it is installed.",
        section="HTTP",
        choices=("auto", "asyncio", "uvloop"),
        needs_package={"uvloop": "uvloop"},
        custom=True,
        inapplicable={"zuvloop": "Tricorn does not run on it; --loop auto serves instead"},
    )
    http: str = option(
        "auto",
        "HTTP/1.1 codec.",
        choices=("auto", "h11", "httptools"),
        needs_package={"httptools": "httptools"},
        inapplicable={"zttp": "Tricorn does not parse with it; --http auto serves instead"},
    )
    http2: bool = option(
        True, "Speak HTTP/2 beside HTTP/1.1: on TLS where the client chooses it (ALPN), elsewhere where it begins with it."
    )
    underscores_in_headers: bool = option(
        True, "Pass headers with underscores in their names to ASGI applications; WSGI applications never get them."
    )
    pathsend: bool = option(
        False, "Offer http.response.pathsend: files go out by sendfile; middleware does not see their content."
    )
    header: tuple[str, ...] = option(
        (),
        "Add this header to every response: Name:Value; may be given several times.",
        separator="\n",
        uvicorn="headers",
        validator=wrong_header,
    )
    server_header: bool = option(True, "Send a Server header.")
    date_header: bool = option(True, "Send a Date header.")
    timeout_keep_alive: float = option(
        5, "Close a keep-alive connection after this long without a request.", unit="s", minimum=0
    )
    limit_concurrency: int | None = option(
        None,
        "If a worker has more connections than this, it answers new ones with 503 and Retry-After.",
        section="Limits of requests",
        minimum=1,
    )
    timeout_request: float | None = option(
        None,
        "Cancel a request that takes longer than this: 504, or the response breaks off; WebSockets are no requests.",
        unit="s",
        minimum=0.1,
    )
    timeout_request_exempt: tuple[str, ...] = option(
        (),
        "Paths that begin with this, such as those of event streams, may take longer; may be given several times.",
        validator=wrong_prefix,
        needs_option="timeout_request",
    )
    limit_request_line: int = option(
        16384,
        "Longest request line (method, target, version); the default is what large proxies forward.",
        unit="bytes",
        minimum=64,
    )
    limit_request_fields: int = option(
        200, "Most headers of a request; browsers send about 20, and proxies add theirs.", minimum=1
    )
    limit_request_field_size: int = option(
        16384,
        "Longest header of a request, with name and line end; the default is what large proxies forward.",
        unit="bytes",
        minimum=64,
    )
    limit_request_head: int = option(
        65536,
        "Largest request head (request line and all headers); the default is what large proxies accept.",
        unit="bytes",
        minimum=256,
    )
    h11_max_incomplete_event_size: int | None = option(
        None,
        "Uvicorn's name for --limit-request-head; raises the limits of single lines too, unless they are set.",
        unit="bytes",
        minimum=256,
    )
    limit_request_trailers: int = option(
        8192, "Largest trailer section of a chunked body, and largest extensions of one chunk.", unit="bytes", minimum=64
    )
    limit_request_body: int | None = option(
        None, "Largest request body; a larger one is answered with 413.", unit="bytes", minimum=0
    )
    limit_request_body_rate: int = option(
        240, "Slowest request body in bytes a second, counted after --timeout-request-body; 0 for no limit.", minimum=0
    )
    limit_request_buffer: int = option(
        65536,
        "How much of one connection's requests, or of its response, may wait in memory before its sender is paused.",
        unit="bytes",
        minimum=1024,
    )
    timeout_request_head: float = option(
        10, "Close a connection whose request head takes longer than this.", unit="s", minimum=0
    )
    timeout_request_body: float = option(
        60, "Close a connection that pauses for longer than this within a request body.", unit="s", minimum=0.1
    )
    timeout_send: float = option(
        60,
        "Close a connection whose client reads nothing for this long; a slow client that keeps reading is not closed.",
        unit="s",
        minimum=0.1,
    )
    ws: str = option(
        "auto",
        "WebSocket reader; 'auto' is wsproto with a fast path for plain frames, 'none' turns WebSocket off.",
        section="WebSocket",
        choices=("auto", "wsproto", "websockets", "websockets-sansio", "none"),
        needs_package={"websockets": "websockets", "websockets-sansio": "websockets"},
    )
    ws_max_size: int = option(16777216, "Largest WebSocket message that is accepted.", unit="bytes", minimum=1)
    ws_max_queue: int = option(32, "WebSocket messages that may wait for the application before reading pauses.", minimum=1)
    ws_ping_interval: float = option(20, "Ping each WebSocket client this often; 0 for never.", unit="s", minimum=0, none=0)
    ws_ping_timeout: float = option(
        20, "Close a WebSocket whose client sends nothing for this long after a ping; 0 for never.", unit="s", minimum=0, none=0
    )
    ws_per_message_deflate: bool = option(True, "Compress WebSocket messages if the client can.", worded=True)
    proxy_headers: bool = option(
        True, "Take client address and scheme from X-Forwarded-For, -Proto or Forwarded of trusted peers.", section="Proxies"
    )
    forwarded_allow_ips: str = option(
        "127.0.0.1,::1",
        "Peers whose proxy headers are trusted: addresses, networks, 'unix:', socket paths; '*' for all.",
        env=("FORWARDED_ALLOW_IPS",),
    )
    proxy_protocol: bool = option(False, "Trusted peers begin every connection with a PROXY protocol header, version 1 or 2.")
    ssl_certfile: str | None = option(
        None,
        "Serve TLS with this certificate chain in PEM; the server's own certificate stands first.",
        section="TLS",
        preloaded=True,
    )
    ssl_keyfile: str | None = option(
        None,
        "Private key for TLS, in PEM; by default it is in the certificate's file.",
        needs_option="ssl_certfile",
        preloaded=True,
    )
    ssl_keyfile_password: str | None = option(
        None, "Password of an encrypted private key.", secret=True, needs_option="ssl_certfile"
    )
    ssl_version: int = option(17, "TLS versions, by the ssl module's PROTOCOL_ numbers: 17 is 1.2 and newer, 5 is only 1.2.")
    ssl_cert_reqs: int = option(
        0, "Client certificates: 0 none, 1 checked if there is one, 2 required.", needs_option="ssl_certfile"
    )
    ssl_ca_certs: str | None = option(
        None,
        "Certificates, in PEM, of the authorities that sign client certificates.",
        needs_option="ssl_certfile",
        preloaded=True,
    )
    ssl_ciphers: str | None = option(
        None, "Ciphers for TLS 1.2, in OpenSSL's notation; by default OpenSSL's own choice.", needs_option="ssl_certfile"
    )
    timeout_ssl_handshake: float = option(
        10, "Close a connection whose TLS handshake takes longer than this.", unit="s", minimum=0.1
    )

    def __post_init__(self) -> None:
        # Only what was given: a test checks the defaults.
        for name, value in vars(self).items():
            OPTIONS[name].check(value)


OPTIONS: Mapping[str, Option] = {name: known for name, known in vars(Config).items() if isinstance(known, Option)}
_section = ""
for _known in OPTIONS.values():
    # Only the first option of a section names it.
    _section = _known.section or _section
    vars(_known).update(section=_section)
DEFAULTS: Mapping[str, Any] = {name: known.default for name, known in OPTIONS.items()}
for _name, _default in DEFAULTS.items():
    # The value of a Config that is given none.
    setattr(Config, _name, _default)

DEVELOPMENT: Mapping[str, Any] = {name: known.development for name, known in OPTIONS.items() if known.development is not None}
"""Defaults that differ with ``--reload``."""


def is_none(share: str | None) -> bool:
    """Whether this share of the workers, which is not wrong, is none at all."""
    return share is None or int(share.removesuffix("%")) == 0


def configure(**given: Any) -> Config:
    """The Config of the options ``given``, with the defaults that ``--reload`` changes. Raises ConfigError."""
    config = Config(**{**DEVELOPMENT, **given} if given.get("reload") else given)
    if config.surge == 0 and not is_none(config.reload_canary):
        raise ConfigError("--reload-canary: --surge 0 leaves no room for a canary")
    return config


def reload_grace(config: Config) -> float:
    """Seconds that what is in flight gets when a worker is replaced, and others serve meanwhile."""
    given = config.timeout_graceful_reload
    grace = config.timeout_graceful_shutdown if given is None else given
    return max(grace, config.drain_over + LAST_PARTING) if config.drain_over else grace


def is_set(config: Config, name: str) -> bool:
    """Whether the option ``name`` has another value than its default."""
    return bool(getattr(config, name) != DEFAULTS[name])


def sections() -> dict[str, list[str]]:
    """The names of all options by the heading that they stand under, in the order of Config's fields."""
    found: dict[str, list[str]] = {}
    for name, known in OPTIONS.items():
        found.setdefault(known.section, []).append(name)
    return found


def check_supervisor(config: Config, consequence: str) -> None:
    """Raise ConfigError for an option that a server without a supervisor can't obey; ``consequence`` completes the message."""
    for name, known in OPTIONS.items():
        if known.needs_supervisor and is_set(config, name) and getattr(config, name) != known.development:
            raise ConfigError(f"{known.flag}: needs a supervisor{consequence}")


def check_excluded(config: Config, by: str, reason: str) -> None:
    """Raise ConfigError with ``reason`` for an option that the option ``by``, which is set, excludes."""
    for name, known in OPTIONS.items():
        if known.excluded_by == by and is_set(config, name):
            raise ConfigError(f"{known.show(getattr(config, name))}: {reason}")


def check_needed(config: Config, *needed: str) -> None:
    """Raise ConfigError for an option that has no meaning without one of ``needed``, which is not set."""
    for name, known in OPTIONS.items():
        if known.needs_option in needed and getattr(config, known.needs_option) is None and is_set(config, name):
            raise ConfigError(f"{known.show(getattr(config, name))}: needs {flag(known.needs_option)}")
