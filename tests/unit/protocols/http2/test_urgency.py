"""How urgent a request is, as the header ``priority`` and PRIORITY_UPDATE tell (RFC 9218 section 4)."""

from __future__ import annotations

import pytest
from tricorn.protocols.http2.head import parse_urgency

VALUES = {
    b"": None,
    b"u=0": 0,
    b"u=7": 7,
    b"u=8": None,
    b"u=-1": None,
    b"u=1.5": None,
    b"u=12": None,
    b"u": None,
    b"i": None,
    b"i, u=2": 2,
    b"u=5, i": 5,
    b"u=5;x=y, i": 5,
    b"u=1 , i": 1,
    b"u=1,u=6": 6,
    b"au=1": None,
    b"a=u=1": None,
    b"u=1," + b"a," * 100: 1,
    # Too long to be read: each of many thousand fields would take time.
    b"u=1," + b"a," * 200: None,
}


@pytest.mark.parametrize("value", VALUES)
def test_urgency(value: bytes) -> None:
    assert parse_urgency(value) == VALUES[value]
