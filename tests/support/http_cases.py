"""The table of what HTTP/1.1 must do with which bytes, by subject; http_cases_*.py hold the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HOST = b"Host: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Row:
    """Bytes in, and what must come out."""

    name: str
    rfc: str
    """The paragraph that says so, of RFC 9112 unless another is named; or why, where it leaves the choice."""
    data: bytes
    statuses: tuple[int, ...]
    """Of all responses."""
    closed: bool
    """Whether the connection is closed then."""
    saw: tuple[str, ...] = ()
    """The requests that the application saw to their end, as ``METHOD target body``."""
    open_ended: bool = False
    """More is to come: what is sent behind is still part of this request."""


def refused(name: str, rfc: str, data: bytes, status: int = 400, *, after: tuple[str, ...] = ()) -> Row:
    """One error and the end of the connection, ``after`` the requests that were answered before."""
    return Row(name, rfc, data, (*(200 for _ in after), status), True, after)


def answered(name: str, rfc: str, data: bytes, *saw: str, closed: bool = False, statuses: tuple[int, ...] = ()) -> Row:
    """Each of the requests is answered (200 if not said otherwise)."""
    return Row(name, rfc, data, statuses or tuple(200 for _ in saw), closed, saw)


def waits(name: str, rfc: str, data: bytes, *saw: str, statuses: tuple[int, ...] = ()) -> Row:
    """Nothing (more) comes out while nothing more comes in."""
    return Row(name, rfc, data, statuses or tuple(200 for _ in saw), False, saw, open_ended=True)


def request(*lines: str | bytes, start: str | bytes = "GET / HTTP/1.1", host: bytes = HOST, body: bytes = b"") -> bytes:
    """A request with a Host and further header ``lines``; text stands for its Latin-1 bytes."""
    return _bytes(start) + b"\r\n" + host + b"".join(_bytes(line) + b"\r\n" for line in lines) + b"\r\n" + body


def post(*lines: str | bytes, body: bytes = b"", start: str = "POST / HTTP/1.1") -> bytes:
    return request(*lines, start=start, body=body)


def chunked(body: bytes, *lines: str) -> bytes:
    return post("Transfer-Encoding: chunked", *lines, body=body)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def rows() -> list[Row]:
    """All of them. Imported late: the files of rows use this module's functions."""
    from support import http_cases_body, http_cases_connection, http_cases_fields, http_cases_head

    modules: list[Any] = [http_cases_head, http_cases_fields, http_cases_body, http_cases_connection]
    return [row for module in modules for row in module.ROWS]
