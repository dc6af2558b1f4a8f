"""The options by subject: the sections of ``--help``, of the settings' page and of the man page."""

from __future__ import annotations

from collections.abc import Mapping

SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "Application": (
        *("app", "app_dir", "chdir", "config", "env_file", "factory", "interface", "lifespan", "root_path"),
        "reset_contextvars",
    ),
    "Listening": ("host", "port", "bind", "uds", "uds_permissions", "fd", "backlog"),
    "Processes": (
        *("workers", "surge", "user", "group", "umask", "pid_file", "hooks", "shutdown_delay", "ready_path"),
        *("limit_max_requests", "limit_max_requests_jitter", "limit_max_lifetime", "limit_max_rss", "limit_crashes"),
        *("timeout_worker_startup", "timeout_worker_healthcheck", "timeout_graceful_shutdown"),
    ),
    "Development": (
        *("reload", "reload_dir", "reload_include", "reload_exclude", "reload_delay", "reload_poll", "reload_warm"),
    ),
    "Log": (
        *("log_level", "log_format", "log_config", "error_log_file", "access_log", "access_log_file", "access_log_format"),
        "use_colors",
    ),
    "HTTP": (
        *("loop", "http", "http2", "underscores_in_headers", "pathsend", "header", "server_header", "date_header"),
        "timeout_keep_alive",
    ),
    "Limits of requests": (
        *("limit_concurrency", "limit_request_line", "limit_request_fields", "limit_request_field_size", "limit_request_head"),
        *("h11_max_incomplete_event_size", "limit_request_trailers", "limit_request_body", "limit_request_body_rate"),
        *("limit_request_buffer", "timeout_request_head", "timeout_request_body", "timeout_send"),
    ),
    "WebSocket": (*("ws", "ws_max_size", "ws_max_queue", "ws_ping_interval", "ws_ping_timeout", "ws_per_message_deflate"),),
    "Proxies": ("proxy_headers", "forwarded_allow_ips", "proxy_protocol"),
    "TLS": (
        *("ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_version", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ciphers"),
        "timeout_ssl_handshake",
    ),
}


def by_subject(names: Mapping[str, object]) -> dict[str, list[str]]:
    """``names``, all options, in sections; one that stands in none comes last, under "Other"."""
    sections = {title: [name for name in section if name in names] for title, section in SUBJECTS.items()}
    placed = {name for section in SUBJECTS.values() for name in section}
    other = [name for name in names if name not in placed]
    return {**sections, "Other": other} if other else sections
