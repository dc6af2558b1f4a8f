"""Which Host headers the admin listener answers: a web page must not reach it through a name of its own (DNS rebinding)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a request with this Host header is answered: an address, ``localhost``, or one of ``names``.

    A page can make a browser send its own name here, which then has our address, but no address and no name of ours.
    """
    host = host.strip().lower()
    if host.startswith("["):
        name = host[1:].partition("]")[0]
    else:
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdigit():
            name = host
    name = name.rstrip(".")
    if not name or name == "localhost" or name in names:
        # HTTP/1.0 and UNIX sockets need none, and browsers always send one.
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
