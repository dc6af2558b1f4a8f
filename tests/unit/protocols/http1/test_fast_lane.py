"""For any bytes the fast lane declines or agrees with the reference, and no two codecs read two different requests.

A longer run: TRICORN_FUZZ_SECONDS=600 python -m pytest tests/unit/protocols/http1/test_fast_lane.py; another one: with
TRICORN_SEED.
"""

from __future__ import annotations

import random

import pytest
from support.mutate import END, NASTY, heads, mutate, rounds, seed
from tricorn.errors import BadRequest
from tricorn.protocols.http1 import fast, h11_codec, httptools_codec
from tricorn.protocols.http1.codec import Codec
from tricorn.protocols.request import RequestHead

ROUNDS = 100_000
PLAIN = b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nContent-Length: 3\r\n\r\n"


CACHE = fast.HeadCache()
WORN = CACHE.lane()
"""A connection on which every head of this module comes, one after another."""


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
    new = CACHE.lane()
    for attempt, lane in (
        ("first", new),
        ("after the same", new),
        ("after others", WORN),
        ("on a new connection", CACHE.lane()),
    ):
        head = lane(raw)
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
    head = CACHE.lane()(PLAIN)
    assert head is not None
    assert (head.method, head.target, head.length) == ("GET", b"/a?b=c", 3)
    assert [*head.headers] == [(b"host", b"a"), (b"accept", b"*/*"), (b"content-length", b"3")]
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


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        *((f"{name}: {{}}=b; c", "agreed") for name in ("Cookie", "cookie", "COOKIE", "Authorization", "authorization")),
        ("Cookie: {}\r\nCookie: b", "agreed"),
        ("Cookie: {}\r\nAuthorization: Bearer b", "agreed"),
        ("Authorization: Bearer {}\r\ncookie: b", "agreed"),
        ("X-Forwarded-For: 192.0.2.1\r\nCookie: {}", "agreed"),
        ("Cookie:{}", "agreed"),
        ("Cookie: \t {}\xe9\t ", "agreed"),
        ("Cookie: \r\nX: {}", "agreed"),
        ("Cookie: {}\r\nContent-Length: 5", "agreed"),
        ("Cookie: {}\r\n folded", "declined"),
        ("X: \r\n Cookie: {}", "declined"),
        ("X: \r\r\nCookie: {}", "declined"),
        ("\r\nCookie: {}", "declined"),
        ("Cookie: {}\x00", "declined"),
        ("authorization: {}\x7f", "declined"),
        ("Cookie: {}\nX: b", "declined"),
        ("Cookie: {}\rX: b", "declined"),
        ("Cookie : {}", "declined"),
        ("Cookie: {}\r\nTransfer-Encoding: chunked", "declined"),
        ("Cookie: {}\r\nHost: b", "declined"),
    ],
)
def test_a_secret_is_read_alike_wherever_it_stands(line: str, outcome: str) -> None:
    others = ["Host: a", "Accept: */*"]
    for place in range(len(others) + 1):
        for value in ("first", "second"):
            lines = [*others[:place], line.format(value), *others[place:]]
            raw = "\r\n".join(["GET /?a=%20 HTTP/1.1", *lines, "", ""]).encode("latin-1")
            assert check(raw) == outcome, raw


def test_fields_may_come_and_go_around_a_secret_on_one_connection() -> None:
    lane = CACHE.lane()
    befores = ("", "Accept: */*\r\n", "Cookie: a\r\n", "Authorization: Basic YQ==\r\n")
    afters = ("", "If-None-Match: x\r\n", "Cookie: \r\n", "Cookie: a\r\nCookie: a\r\n", "authorization: b\r\n")
    kinds = [(before, after) for before in befores for after in afters]
    heads = [
        f"GET /{number} HTTP/1.1\r\nHost: a\r\n{before}Cookie: {secret}\r\n{after}\r\n".encode("ascii")
        for number, (before, after) in enumerate(kinds)
        for secret in ("", "a", "b", " ", "a\r\nCookie: a", "a\r\nX: b")
    ]
    for raw in heads + heads[::-1] + heads[::7] + heads[::-5]:
        assert lane(raw) == h11_codec.parse(raw)
    for spoilt in (b"\x00", b"\r", b"\n", b"\x7f", b"\r\n X: folded", b"\r\nHost: b", b"\r\nTransfer-Encoding: chunked"):
        for raw in heads:
            cut = raw.index(b"Cookie: ") + 8
            assert lane(raw) is not None
            assert lane(raw[:cut] + b"a" + spoilt + raw[cut:]) is None


PRIVATE = (
    "",
    "X-Api-Key: {}\r\n",
    "Referer:{}\r\nX-CSRFToken: {}\r\n",
    "cookie: {}\r\nCOOKIE:  {} \r\n",
    "X: {}\r\nAccept: a\r\nX: {}\r\n",
)


def test_private_lines_may_stand_anywhere_and_change() -> None:
    """Each head after each other one, on one connection, so that what stood around the last one's private lines is compared."""
    lane = CACHE.lane()
    heads = [
        f"GET /{first}{second} HTTP/1.1\r\n{one}Host: a\r\n{other}DNT: 1\r\n\r\n".format(*[first, second] * 2).encode("latin-1")
        for one in PRIVATE
        for other in PRIVATE
        for first, second in (("a", "b"), ("c", ""), ("\xe9;,:", "b c"), ("Host: b", "a" * 300))
        if "X" not in one or " " not in second
    ]
    heads = [head for head in heads if head.count(b" HTTP/1.1") == 1 and head.split(b" ")[1].isascii()]
    assert len(heads) > 60
    for raw in heads + heads[::-1] + heads[::3] + heads[::-7]:
        assert lane(raw) == reading(h11_codec.parse, raw)
    # What ends a value early, or adds a line, is seen wherever it stands.
    for spoilt in (
        b"\x00",
        b"\r",
        b"\n",
        b"\x7f",
        b"\t",
        b"\r\n X: folded",
        b"\r\nHost: b",
        b"\r\nTE: a",
        b"\r\nContent-Length: 1",
    ):
        for raw in heads[::5]:
            for at in range(raw.index(b"\r\n"), len(raw), 7):
                lane(raw)
                head = lane(raw[:at] + spoilt + raw[at:])
                assert head is None or head == reading(h11_codec.parse, raw[:at] + spoilt + raw[at:])


def test_a_head_that_is_a_part_of_the_last_is_read_as_what_it_is() -> None:
    lane = CACHE.lane()
    whole = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\nCookie: a\r\n\r\n"
    assert lane(whole) == h11_codec.parse(whole)
    part = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a\r\n\r\n"
    assert lane(part) == h11_codec.parse(part)
    assert lane(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: \r\n") is None
