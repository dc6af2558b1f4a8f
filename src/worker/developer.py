"""With ``--reload``: which requests are the developer's own, and which are of pages that wait for the next save.

What is shown to developers has source code in it, so only the developer's own machine sees it: both the client's address and
the ``Host`` that it asks for must be loopback ones. (A page of another site can make a browser ask us, but under that site's
name: DNS rebinding.)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from ..protocols.asgi import Field, Scope

WAIT = b"x-tricorn-wait"
"""The header of requests that pages make to wait for the next save."""


def is_developer(scope: Scope) -> bool:
    """Whether the request ``scope`` comes from this machine and asks for one of its loopback names."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return is_local(scope.get("client"), host)


def is_waiting(method: str, headers: Iterable[Field]) -> bool:
    """Whether a page makes this request to wait for the next save."""
    return method == "HEAD" and any(name == WAIT for name, _ in headers)


def is_local(client: tuple[str, int] | None, host: str) -> bool:
    """Whether a request comes from this machine and asks for one of its loopback names.

    ``client`` is the scope's. Behind a trusted proxy it is the address that the proxy tells. ``host`` is the value of the
    header, with or without a port.
    """
    name = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    name = name.lower().removesuffix(".")
    # These names always mean the machine itself (RFC 6761 section 6.3).
    is_ours = name == "localhost" or name.endswith(".localhost") or is_loopback(name)
    return client is not None and is_loopback(client[0]) and is_ours


def is_loopback(address: str) -> bool:
    """Whether the address, IPv4 or IPv6, is a loopback one; False for text that is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
