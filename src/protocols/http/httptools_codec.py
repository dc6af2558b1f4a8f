"""The codec over httptools (llhttp)."""

from __future__ import annotations

import httptools

from ..asgi import Fields
from .codec import BadRequest, RequestHead, check_grammar, interpret


class _Collector:
    """What httptools calls."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: Fields = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))


def parse(raw: bytes) -> RequestHead:
    """Parse one whole request head. Raises :class:`BadRequest`."""
    check_grammar(raw)
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # All of the head has been read; what the upgrade means is not the parser's business here.
    except httptools.HttpParserError as error:
        raise BadRequest(_status(raw), f"malformed request: {error}") from None
    version: str = parser.get_http_version()
    return interpret(parser.get_method(), collector.target, version.encode("ascii"), collector.headers)


def _status(raw: bytes) -> int:
    """llhttp refuses methods and versions it does not know: these have statuses of their own (RFC 9110 section 15.6)."""
    _, _, version = raw[: raw.find(b"\r\n")].rpartition(b" ")
    return 505 if version[:6] != b"HTTP/1" else 400
