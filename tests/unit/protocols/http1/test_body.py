"""Where a body ends: ours is never more lenient than h11, and no split of the bytes makes a difference."""

from __future__ import annotations

import itertools
import random
import re

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mutate import mutate, rounds, seed
from tricorn.errors import BadRequest
from tricorn.protocols.http1 import body as module
from tricorn.protocols.http1.body import BodyReader, ChunkedReader, LengthReader

LIMIT = 8192
ROUNDS = 8_000
CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
WHITE_SPACE_BEFORE_EXTENSION = re.compile(rb"[0-9A-Fa-f][\t ]+;|;[^\r]*[\t ]")
"""RFC 9112 section 7.1.1 has recipients accept it (BWS); h11 does not. The one place where ours takes more."""
BODIES = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b'A;a=b;c="d"\r\n0123456789\r\n1\r\n\r\r\n0\r\nX: y\r\nZ: \r\n\r\nrest',
    b"0\r\n\r\n",
    b"000\r\n\r\n0\r\n\r\n",
    b"2\r\n\r\n\r\n2\r\n\n\r\r\n0;x\r\n\r\n",
]


def read(reader: BodyReader, pieces: list[bytes]) -> tuple[bytes, bool, bytes] | int:
    """Body, whether it is complete, what is behind it; or the status with which it is refused."""
    body, rest = b"", b""
    for piece in pieces:
        if reader.complete:
            rest += piece
            continue
        try:
            body += reader.feed(piece)
            while reader.more:
                body += reader.feed(b"")
        except BadRequest as error:
            return error.status
        rest = reader.rest
    return body, reader.complete, rest


def read_by_h11(data: bytes) -> tuple[bytes, bool, bytes] | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return body, True, connection.trailing_data[0]
            elif event is h11.NEED_DATA:
                return body, False, b""
    except h11.RemoteProtocolError:
        return None


def splits(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def compare(data: bytes) -> bool:
    """Whether ours takes it; asserts that h11 then reads the same."""
    ours = read(ChunkedReader(LIMIT), [data])
    if isinstance(ours, int) or WHITE_SPACE_BEFORE_EXTENSION.search(data):
        return False
    theirs = read_by_h11(data)
    assert theirs is not None, f"h11 refuses {data!r}, ours reads {ours}"
    assert (ours[0], ours[1]) == (theirs[0], theirs[1]), repr(data)
    assert not ours[1] or ours[2] == theirs[2], repr(data)
    return ours[1]


@pytest.mark.parametrize("data", BODIES)
def test_good_bodies_are_read_as_h11_reads_them(data: bytes) -> None:
    assert compare(data)


def test_ours_is_never_more_lenient_than_h11() -> None:
    chance = random.Random(seed())
    taken = sum(compare(mutate(chance.choice(BODIES), chance)) for _ in rounds(ROUNDS))
    assert taken > 50, "the mutations are too coarse to tell anything"


def test_no_split_makes_a_difference_to_mutated_bodies() -> None:
    chance = random.Random(seed())
    for _ in rounds(ROUNDS // 4):
        data = mutate(chance.choice(BODIES), chance)
        whole = read(ChunkedReader(LIMIT), [data])
        cuts = [chance.randrange(99) for _ in range(chance.randint(1, 9))]
        assert read(ChunkedReader(LIMIT), splits(data, cuts)) == whole, f"{data!r} cut at {cuts}"
        assert read(ChunkedReader(LIMIT), splits(data, list(range(len(data))))) == whole, f"{data!r} byte by byte"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 400), max_size=8), st.binary(max_size=9)
)
def test_any_body_in_any_split_comes_out_whole(chunks: list[bytes], cuts: list[int], behind: bytes) -> None:
    body = b"".join(chunks)
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n" + behind
    assert read(ChunkedReader(LIMIT), splits(data, cuts)) == (body, True, behind)
    assert read(LengthReader(len(body)), splits(body + behind, cuts)) == (body, True, behind)


def test_many_small_chunks_in_one_read_are_not_copied_over_and_over() -> None:
    count = 100_000  # With a copy of the rest for each, this took minutes.
    data = b"1\r\na\r\n" * count + b"0\r\n\r\n"
    assert len(ChunkedReader(LIMIT).feed(data)) <= 1024
    assert read(ChunkedReader(LIMIT), [data]) == (b"a" * count, True, b"")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"5;" + b"a" * LIMIT + b"\r\nhello\r\n0\r\n\r\n", 400),
        (b"5;" + b"a" * LIMIT, 400),
        (b"0\r\nX: " + b"a" * LIMIT + b"\r\n\r\n", 431),
        (b"0\r\n" + b"X: a\r\n" * 2000, 431),
    ],
)
def test_lines_and_trailers_are_bounded(data: bytes, status: int) -> None:
    assert read(ChunkedReader(LIMIT), [data]) == status
    assert read(ChunkedReader(LIMIT), splits(data, list(range(0, len(data), 7)))) == status


@pytest.mark.parametrize(
    ("size", "extension", "count", "taken"),
    [
        (1, b"a=b", 20_000, False),
        (1, b"a", 100_000, True),
        (1, b"a" * 8000, 3, False),
        (65536, b"chunk-signature=" + b"0" * 64, 50, True),
        (100, b"chunk-signature=" + b"0" * 64, 5000, True),
    ],
)
def test_extensions_may_not_outweigh_the_body(size: int, extension: bytes, count: int, taken: bool) -> None:
    body = bytes(size) * count
    data = b"%x;%b\r\n%b\r\n" % (size, extension, bytes(size)) * count + b"0\r\n\r\n"
    expected = (body, True, b"") if taken else 400
    assert read(ChunkedReader(LIMIT), [data]) == expected
    assert read(ChunkedReader(LIMIT), splits(data, list(range(0, len(data), 997)))) == expected


@pytest.mark.parametrize(("begin", "pattern"), [(b"1;a=", "_SIZE_BEGUN"), (b"0\r\nX: ", "_TRAILER_BEGUN")])
def test_a_line_that_trickles_is_not_looked_at_over_and_over(
    begin: bytes, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    class Watched:
        def __init__(self, pattern: re.Pattern[bytes]) -> None:
            self._pattern = pattern

        def fullmatch(self, data: bytes, start: int) -> re.Match[bytes] | None:
            looked.append(len(data) - start)
            return self._pattern.fullmatch(data, start)

    for name in (pattern, "_REST_BEGUN"):
        monkeypatch.setattr(module, name, Watched(getattr(module, name)))
    reader = ChunkedReader(LIMIT)
    reader.feed(begin)
    for _ in range(5000):
        reader.feed(b"b")
    assert sum(looked) < 10_000
    for wrong in (b"\0", b"\n", b"\r "):
        reader = ChunkedReader(LIMIT)
        reader.feed(begin + b"b" * 99)
        with pytest.raises(BadRequest):
            reader.feed(b"b" + wrong)


def test_a_body_above_the_limit_is_refused_before_it_is_read() -> None:
    reader = ChunkedReader(LIMIT, max_size=10)
    assert reader.feed(b"6\r\nhello!\r\n") == b"hello!"
    with pytest.raises(BadRequest) as raised:
        reader.feed(b"5\r\n")
    assert raised.value.status == 413
    assert read(ChunkedReader(LIMIT, max_size=6), [b"6\r\nhello!\r\n0\r\n\r\n"]) == (b"hello!", True, b"")


def test_a_body_with_length_ends_where_it_says() -> None:
    reader = LengthReader(5)
    assert reader.feed(b"hel") == b"hel"
    assert not reader.complete
    assert reader.feed(b"lo!!") == b"lo"
    assert reader.complete
    assert reader.rest == b"!!"
    assert LengthReader(0).complete
