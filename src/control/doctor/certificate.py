"""When a certificate ends, read from its file without OpenSSL (RFC 5280 section 4.1; DER: X.690)."""

from __future__ import annotations

import base64
import binascii
import calendar
import re
import time

_FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
"""By the tags of UTCTime and GeneralizedTime. Both end in Z in a certificate (RFC 5280 section 4.1.2.5)."""
_VERSION = 0xA0
"""The tag of the optional version in front of all else."""
_BEFORE_VALIDITY = 3
"""Fields in front of the validity: serial number, signature's algorithm, issuer."""


def ends_at(pem: str) -> float | None:
    """When the first certificate of a file ends, in seconds since 1970; None if the text has none that can be read."""
    found = re.search(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----", pem)
    try:
        return _read(base64.b64decode(found[1])) if found is not None else None
    except (ValueError, IndexError, KeyError, binascii.Error):
        return None


def _read(der: bytes) -> float:
    _, begin, _ = _element(der, 0)
    # The part that is signed.
    _, at, _ = _element(der, begin)
    tag, _, end = _element(der, at)
    if tag == _VERSION:
        at = end
    for _ in range(_BEFORE_VALIDITY):
        _, _, at = _element(der, at)
    _, at, _ = _element(der, at)
    _, _, at = _element(der, at)
    tag, begin, end = _element(der, at)
    return float(calendar.timegm(time.strptime(der[begin:end].decode("ascii"), _FORMATS[tag])))


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of the element at ``at``, and where its content begins and ends."""
    tag, size, begin = der[at], der[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
    return tag, begin, begin + size
