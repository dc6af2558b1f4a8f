"""The part of an ASGI scope that a request head makes, whichever protocol is spoken behind it."""

from __future__ import annotations

from urllib.parse import unquote

from ..asgi import Scope
from ..service import Service
from .codec import RequestHead


def request_scope(service: Service, base: Scope, head: RequestHead) -> Scope:
    """A new scope from ``base``, the part that all requests of a connection share (ASGI HTTP specification 2.4)."""
    path, _, query = head.target.partition(b"?")
    text = path.decode("ascii")
    if b"%" in path:
        text = unquote(text)
    if service.root_path:
        text, path = service.root_path + text, service.root_path.encode("ascii") + path
    scope: Scope = base.copy()  # type: ignore[attr-defined]
    scope["http_version"] = head.version
    scope["path"] = text
    scope["raw_path"] = path
    scope["query_string"] = query
    scope["headers"] = head.headers
    if service.state is not None:
        scope["state"] = service.state.copy()
    return scope
