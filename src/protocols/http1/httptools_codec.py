"""The codec over httptools (llhttp)."""

from __future__ import annotations

import httptools

from ...errors import BadRequest
from ..asgi import Field
from ..request import RequestHead
from .grammar import check_grammar, interpret


class _Collector:
    """What httptools calls."""

    def __init__(self) -> None:
        self.headers: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))


def parse(raw: bytes) -> RequestHead:
    """Parse one whole request head. Raises :class:`BadRequest`."""
    method, target, version = check_grammar(raw)
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        # llhttp knows a fixed set of methods and versions and refuses all others, which RFC 9110 section 9.1 leaves to the
        # application; so the request line, which the shared grammar has read already, is not its business.
        fields = raw[raw.index(b"\r\n") :]
        if b"\t\r\n" in fields:
            # llhttp takes a tab behind a Content-Length for a part of it; to all recipients it is white space.
            fields = b"\r\n".join(line.rstrip(b" \t") for line in fields.split(b"\r\n"))
        parser.feed_data(b"GET / HTTP/1.1" + fields)
    except httptools.HttpParserUpgrade:
        pass  # All of the head has been read; what the upgrade means is not the parser's business here.
    except httptools.HttpParserError as error:
        raise BadRequest(400, f"malformed request: {error}") from None
    return interpret(method, target, version, collector.headers)
