"""From the options to the parts that all connections of a worker share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..config.options import DEFAULTS, Config
from ..protocols.defaults import Defaults
from ..protocols.http1 import fast
from ..protocols.http1.codec import Codec
from ..protocols.http1.head_limits import Parse
from ..protocols.limits import Limits
from ..protocols.request import RequestHead
from .setup import Setup, trusted_by
from .tls import Certificates


def make_limits(config: Config) -> Limits:
    """What clients may ask for, by the options."""
    head, line, field = config.limit_request_head, config.limit_request_line, config.limit_request_field_size
    if (limit := config.h11_max_incomplete_event_size) is not None:
        head = limit
        # Uvicorn has no limits for lines: an operator who asks for room for a large head wants room for its lines too.
        line = max(line, limit) if line == DEFAULTS["limit_request_line"] else line
        field = max(field, limit) if field == DEFAULTS["limit_request_field_size"] else field
    return Limits(
        # No part of a head is larger than the head: the parser relies on that.
        request_line=min(line, head),
        head=head,
        header_count=config.limit_request_fields,
        field_size=min(field, head),
        trailers=config.limit_request_trailers,
        body=config.limit_request_body,
        buffer=config.limit_request_buffer,
        concurrency=config.limit_concurrency,
        request_head_time=config.timeout_request_head,
        request_body_time=config.timeout_request_body,
        request_body_rate=config.limit_request_body_rate,
        send_time=config.timeout_send,
        keep_alive_time=config.timeout_keep_alive,
    )


def make_defaults(config: Config) -> Defaults:
    """The header lines that ``--header`` and ``--server-header`` put into every response."""
    lines = []
    server = b"server: tricorn\r\n" if config.server_header else b""
    for line in config.header:
        name, _, value = line.partition(":")
        lines.append(f"{name.strip()}: {value.strip()}\r\n".encode("latin-1"))
        if name.strip().lower() == "server":
            server = b""
    return Defaults(server=server, extra=b"".join(lines))


def make_setup(config: Config, loop: asyncio.AbstractEventLoop, certificates: Certificates) -> Setup:
    """What happens between accept and protocol."""
    return Setup(
        loop,
        certificates,
        proxies=trusted_by(config) if config.proxy_protocol else None,
        proxy_time=config.timeout_request_head,
        handshake_time=config.timeout_ssl_handshake,
    )


def lane_of(choice: str) -> Callable[[], Parse] | None:
    """The fast lane of ``--http choice``, if it has one."""
    return fast.HeadCache().lane if choice == "auto" else None


def codec_of(choice: str) -> Codec:
    """The parser of ``--http choice``. ``auto`` is the fast lane with h11 behind it, because that measures best."""
    if choice == "httptools":
        from ..protocols.http1 import httptools_codec

        return httptools_codec.parse
    if choice == "h11":
        from ..protocols.http1 import h11_codec

        return h11_codec.parse
    return _parse_by_h11


def _parse_by_h11(raw: bytes) -> RequestHead:
    """Load h11 when the fast lane declines for the first time: that saves a tenth of the start-up."""
    from ..protocols.http1 import h11_codec

    return h11_codec.parse(raw)
