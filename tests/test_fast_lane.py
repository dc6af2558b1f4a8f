"""For any bytes the fast lane declines or agrees with the reference, and no two codecs read two different requests.

A longer run: TRICORN_FUZZ_SECONDS=600 python -m pytest tests/test_fast_lane.py, with TRICORN_SEED for another one.
"""

from __future__ import annotations

import random

import pytest
from mutate import END, NASTY, heads, mutate, rounds, seed
from tricorn.protocols.http import fast, h11_codec, httptools_codec
from tricorn.protocols.http.codec import BadRequest, Codec, RequestHead

ROUNDS = 100_000
PLAIN = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nContent-Length: 3\r\n\r\n"


def reading(parse: Codec, raw: bytes) -> RequestHead | None:
    """What the codec reads, comparable; None if it refuses."""
    try:
        return parse(raw)
    except BadRequest:
        return None


def check(raw: bytes) -> str:
    """Compare all codecs on one whole head; says what the fast lane did."""
    reference, other = reading(h11_codec.parse, raw), reading(httptools_codec.parse, raw)
    assert other == reference, f"httptools and h11 differ about {raw!r}"
    for attempt in ("first", "with all lines known"):
        head = fast.parse(raw)
        agrees = head is None or head == reference
        assert agrees, f"the fast lane ({attempt}) reads {raw!r} as {head}"
    return "declined" if head is None else "agreed"


def whole_head(data: bytes) -> bytes | None:
    """What a connection would hand to a codec."""
    end = data.find(END)
    return data[: end + 4] if end >= 0 else None


def nasty_heads() -> list[bytes]:
    """Every nasty piece at every place between the parts of a plain request."""
    places = [0, 3, 4, 5, 6, 10, 11, 18, 19, 20, 24, 25, 26, 27, 28, 34, 35, 39, 55, 56, 57, 58, 60, 61]
    found = [PLAIN[:at] + nasty + PLAIN[at:] for at in places for nasty in NASTY]
    return [head for head in map(whole_head, found) if head is not None]


def test_the_fast_lane_takes_plain_requests() -> None:
    head = fast.parse(PLAIN)
    assert head is not None
    assert (head.method, head.target, head.length) == ("GET", b"/a?b=c", 3)
    assert head.headers == [(b"host", b"a"), (b"accept", b"*/*"), (b"content-length", b"3")]
    assert {check(raw) for raw in heads()} == {"agreed", "declined"}


@pytest.mark.parametrize("raw", heads(), ids=range(len(heads())))
def test_all_codecs_read_the_table_alike(raw: bytes) -> None:
    check(raw)


def test_all_codecs_read_a_nasty_piece_anywhere_alike() -> None:
    cases = nasty_heads()
    assert len(cases) > 500
    outcomes = [check(raw) for raw in cases]
    assert outcomes.count("agreed") > 50


def test_all_codecs_read_mutated_requests_alike() -> None:
    chance = random.Random(seed())
    begins = heads()
    agreed = 0
    for _ in rounds(ROUNDS):
        raw = whole_head(mutate(chance.choice(begins), chance))
        if raw is not None:
            agreed += check(raw) == "agreed"
    assert agreed > 100, "the mutations are too coarse to tell anything"


def test_what_the_lane_remembers_is_bounded_and_holds_no_secrets() -> None:
    for number in range(5_000):
        line = f"GET / HTTP/1.1\r\nHost: a\r\nX-{number}: {number}\r\nCookie: secret={number}\r\n\r\n"
        assert fast.parse(line.encode("ascii")) is not None
    stores = [value for name, value in vars(fast).items() if isinstance(value, dict) and not name.startswith("__")]
    assert stores
    assert all(len(store) <= 2048 for store in stores)
    assert not any(b"secret" in line for store in stores for line in store)
