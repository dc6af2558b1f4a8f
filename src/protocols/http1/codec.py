"""What every codec shares.

A codec is a function from the bytes of one whole request head, final empty line included, to a
:class:`~tricorn.protocols.request.RequestHead`. It raises :class:`BadRequest`; it owns no transport, clock or task. body.py
reads bodies, for all codecs.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..request import RequestHead

Codec = Callable[[bytes], RequestHead]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""RFC 9110 section 5.6.2."""

_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?")


def is_host(value: bytes) -> bool:
    """Whether ``value`` is a host with an optional port, as in Host (RFC 9110 section 7.2, RFC 3986 section 3.2).

    Stricter than the grammar in what no host that can be asked for has: it is not empty, has none of the sub-delimiters (such
    as a comma), its port is below 65536, and what stands in brackets is an IPv6 address.
    """
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or 0) > 65535:
        return False
    if match[1] is not None:
        # Imported here because hardly any client asks so.
        import ipaddress

        try:
            ipaddress.IPv6Address(match[1].decode("ascii"))
        except ValueError:
            return False
    return True
