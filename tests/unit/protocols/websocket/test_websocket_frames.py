"""Readers of frames agree with the reference, for any bytes in any split; sizes are bounded; what is sent is well-formed."""

from __future__ import annotations

import itertools
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.websocket_wire import BINARY, CLOSE, PING, PONG, TEXT, client_close, client_frame, mask, server_frames
from tricorn.protocols.websocket import fast, frames, masking
from tricorn.protocols.websocket.bulk import Bulk
from tricorn.protocols.websocket.deflate import Agreement, Deflater, Inflater, TooBig
from tricorn.protocols.websocket.frames import Close, Event, Ping, Pong, Reader, Violation
from tricorn.protocols.websocket.wsproto_reader import FastReader, ReferenceReader

MakeReader = Callable[[int, Agreement | None], Reader]
LIMIT = 4096
READERS: list[MakeReader] = [FastReader, ReferenceReader]
try:
    from tricorn.protocols.websocket.websockets_reader import WebsocketsReader

    READERS.append(WebsocketsReader)
except ImportError:
    pass


def read_all(reader: Reader, pieces: Sequence[bytes]) -> list[Event]:
    """All events but parts of messages, up to the one that ends the connection."""
    events: list[Event] = []
    for piece in pieces:
        message = reader.take(piece)
        if message is not None:
            events.append(message)
            continue
        while (event := reader.next()) is not None:
            if event is not frames.PART:
                events.append(event)
            if isinstance(event, Close | Violation):
                return events
    return events


def read_by_piece(reader: Reader, pieces: Sequence[bytes]) -> list[list[Event]]:
    """What each piece brings about: a violation is to be found as early as it can be."""
    found: list[list[Event]] = []
    for piece in pieces:
        found.append(comparable(read_all(reader, [piece])))
        if found[-1] and isinstance(found[-1][-1], Close | Violation):
            break
    return found


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


# Frames as clients send them, as they should not, and bytes that are no frames at all.
payloads = st.one_of(st.text(max_size=200).map(str.encode), st.binary(max_size=200), st.just(b"x" * 126), st.just(b"y" * 66000))
keys = st.binary(min_size=4, max_size=4)
plain = st.builds(client_frame, st.sampled_from([TEXT, BINARY]), payloads, keys)
odd = st.builds(client_frame, st.integers(0, 255), payloads, keys)
unmasked = st.builds(frames.frame, st.sampled_from([TEXT, BINARY, PING]), st.binary(max_size=200))
wire = st.lists(st.one_of(plain, plain, odd, unmasked, st.binary(max_size=20)), max_size=6).map(b"".join)


@settings(deadline=None, max_examples=400)
@given(wire, st.lists(st.integers(0, 1 << 20), max_size=4), st.sampled_from([None, Agreement()]))
@example(client_frame(TEXT, "a€".encode()[:3]), [], None)
@example(client_frame(TEXT, b"\xed\xa0\x80"), [], None)
@example(client_frame(BINARY, b"") + client_frame(TEXT, b""), [], None)
@example(b"\x81\xfe\x00\x05abcd12345", [], None)
@example(client_frame(BINARY, b"x" * (LIMIT + 1)), [], None)
@example(client_frame(BINARY, b"x" * LIMIT), [3], None)
@example(client_frame(0x01, b"a") + client_frame(PING, b"b") + client_frame(TEXT, b"c"), [], None)
@example(client_frame(0x01, b"a") + client_frame(0x80, b"b") + client_frame(TEXT, b"c"), [5, 20], None)
def test_the_fast_lane_declines_or_agrees(data: bytes, cuts: list[int], agreement: Agreement | None) -> None:
    pieces = split(data, cuts)
    assert read_by_piece(FastReader(LIMIT, agreement), pieces) == read_by_piece(ReferenceReader(LIMIT, agreement), pieces)


LONG = 200_000
long_texts = st.builds(
    lambda text, size: (text * size)[:size], st.text(min_size=1, max_size=20), st.sampled_from([65_536, 90_000])
)
long_payloads = st.one_of(
    long_texts.map(str.encode),
    st.builds(lambda text, end: text.encode() + end, long_texts, st.binary(max_size=4)),
    st.sampled_from([b"x" * 65_535, b"x" * LONG, b"x" * (LONG + 1)]),
)
long_frames = st.builds(client_frame, st.sampled_from([TEXT, TEXT, BINARY, 0x01, 0x80]), long_payloads, keys)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.one_of(long_frames, long_frames, plain, odd), max_size=3), st.lists(st.integers(0, 1 << 20), max_size=12))
@example([client_frame(TEXT, "ä".encode() * 40_000), client_frame(TEXT, b"a")], [1, 2, 13, 14, 15, 16, 80_013, 80_014])
@example(
    [client_frame(0x01, b"a"), client_frame(0x80, b"b"), client_frame(TEXT, b"c" * 70_000), client_frame(PING)], [7, 14, 15]
)
@example([client_frame(TEXT, b"c" * 70_000 + b"\xff" + b"c" * 70_000)], [70_014, 70_015, 70_016])
@example([client_frame(TEXT, b"c" * 70_000 + b"\xe2\x82")], [70_014, 70_015])
@example([b"\x82\xff" + (65_535).to_bytes(8, "big") + b"abcd" + b"x" * 65_535], [])
@example([b"\x82\xff\x80" + (65_536).to_bytes(7, "big") + b"abcd" + b"x" * 65_536], [])
def test_the_fast_lane_agrees_on_long_messages_as_they_arrive(wire: list[bytes], cuts: list[int]) -> None:
    pieces = split(b"".join(wire), cuts)
    assert read_by_piece(FastReader(LONG, None), pieces) == read_by_piece(ReferenceReader(LONG, None), pieces)


def compressed_wire(messages: list[tuple[str, bytes]], agreement: Agreement) -> bytes:
    """What a client sends that compresses; each message comes with how it does."""
    window, data = -max(agreement.client_window or 15, 9), b""
    stream = zlib.compressobj(wbits=window)
    for how, message in messages:
        if how == "plain":
            data += client_frame(BINARY, message)
            continue
        if not agreement.client_takeover:
            stream = zlib.compressobj(wbits=window)
        payload = (stream.compress(message) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
        if how == "fragmented":
            data += client_frame(0x42, payload[:3]) + client_frame(PING, b"?") + client_frame(0x80, payload[3:])
        else:
            data += client_frame(0xC1 if how == "text" else 0xC2, payload[:-2] + b"~" if how == "damaged" else payload)
    return data


hows = st.sampled_from(["plain", "text", "text", "binary", "fragmented", "damaged"])
contents = st.one_of(st.text(max_size=300).map(str.encode), st.binary(max_size=300), st.just(b"x" * (LIMIT + 1)))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(hows, contents), max_size=6),
    st.lists(st.integers(0, 1 << 20), max_size=3),
    st.sampled_from([Agreement(), Agreement(9, 8), Agreement(client_takeover=False)]),
)
def test_the_fast_lane_agrees_on_compressed_messages(
    messages: list[tuple[str, bytes]], cuts: list[int], agreement: Agreement
) -> None:
    pieces = split(compressed_wire(messages, agreement), cuts)
    assert read_by_piece(FastReader(LIMIT, agreement), pieces) == read_by_piece(ReferenceReader(LIMIT, agreement), pieces)


@settings(deadline=None, max_examples=300)
@given(wire)
def test_the_fast_lane_reads_one_frame_as_the_reference_does(data: bytes) -> None:
    found = fast.read(data, 0, LIMIT)
    if found is not None and not isinstance(found[0], Bulk):
        reference = ReferenceReader(LIMIT, None)
        reference.feed(data[: found[1]])
        assert reference.next() == found[0]
        assert reference.idle
        assert fast.whole(data, LIMIT) in (None, found[0])
    else:
        assert fast.whole(data, LIMIT) is None


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, 511, 512, 513, 70_001])
def test_both_ways_to_unmask(size: int) -> None:
    payload = bytes(index * 7 & 255 for index in range(size))
    assert bytes(masking.unmask(mask(payload), b"\x11\x22\x33\x44")) == payload
    assert masking.unmask_in_python(mask(payload), b"\x11\x22\x33\x44") == payload


def test_what_the_fast_lane_takes() -> None:
    """That it agrees would be easy if it never took anything."""
    for frame, message in [
        (client_frame(TEXT, "grüße".encode()), "grüße"),
        (client_frame(BINARY, b"\xff"), b"\xff"),
        (client_frame(TEXT, b""), ""),
        (client_frame(BINARY, b"x" * 4000), b"x" * 4000),
    ]:
        assert fast.read(frame, 0, LIMIT) == (message, len(frame))
        assert fast.read(b"..." + frame + b"...", 3, LIMIT) == (message, len(frame) + 3)
        assert fast.whole(frame, LIMIT) == (message if len(frame) < 132 else None)
        assert fast.whole(frame[:-1], LIMIT) is fast.whole(frame + b".", LIMIT) is None


@pytest.mark.parametrize("size", [0, 7, 8, 20, 66_000])
def test_the_fast_lane_takes_a_cut_frame_once_its_head_is_whole(size: int) -> None:
    for cut in range(1, 16):
        reader = FastReader(LONG, None)
        frame = client_frame(BINARY, b"x" * size)
        assert read_all(reader, [frame[:cut], frame[cut:] + client_frame(TEXT, b"a")]) == [b"x" * size, "a"]
        head = 6 if size < 126 else 14
        assert (reader.reference is None) is (cut >= head)


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize("in_frames", [True, False])
def test_small_pieces_take_no_more_memory_than_large_ones(make: MakeReader, in_frames: bool) -> None:
    size, two = 20_000, b"\x12\x34"
    frames_of_two = (client_frame(0x00, two) for _ in range(size // 2 - 2))
    one_frame = client_frame(BINARY, two * (size // 2))
    head = [client_frame(0x02, two)] if in_frames else [one_frame[:8]]
    rest = frames_of_two if in_frames else (one_frame[at : at + 2] for at in range(8, len(one_frame) - 2, 2))
    reader = make(size, None)
    read_all(reader, head)
    tracemalloc.start()
    for piece in rest:
        assert read_all(reader, [piece]) == []
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # As an object of its own each of the pieces would take 43 bytes: twenty times as much as it brings.
    assert kept < 5 * size
    last = client_frame(0x80, two) if in_frames else one_frame[-2:]
    assert read_all(reader, [last]) == [two * (size // 2)]


DEFLATED = Deflater(Agreement()).message(b"hello " * 20)
CASES: dict[str, tuple[bytes, list[Event]]] = {
    "two messages": (client_frame(TEXT, b"a") + client_frame(BINARY, b"b"), ["a", b"b"]),
    "fragments": (client_frame(0x01, b"\xc3") + client_frame(0x00) + client_frame(0x80, b"\xa4"), ["ä"]),
    "no fragments at all": (client_frame(0x02) + client_frame(0x80), [b""]),
    "ping between fragments": (
        client_frame(0x02, b"a") + client_frame(PING, b"?") + client_frame(0x80, b"b"),
        [Ping(b"?"), b"ab"],
    ),
    "pong": (client_frame(PONG, b"!"), [Pong(b"!")]),
    "close": (client_close(1001, "bye"), [Close(1001, "bye")]),
    "close without a code": (client_frame(CLOSE), [Close(1005, "")]),
    "close between fragments": (client_frame(0x01, b"a") + client_close(1000), [Close(1000, "")]),
    "nothing after close": (client_close(3000) + client_frame(TEXT, b"a"), [Close(3000, "")]),
    "a message before the violation": (client_frame(TEXT, b"a") + client_frame(0x83), ["a", Violation(1002, "")]),
    "reserved opcode": (client_frame(0x8B), [Violation(1002, "")]),
    "reserved bit": (client_frame(0xA1, b"a"), [Violation(1002, "")]),
    "unmasked": (frames.frame(TEXT, b"a"), [Violation(1002, "")]),
    "continuation of nothing": (client_frame(0x80, b"a"), [Violation(1002, "")]),
    "message within a message": (client_frame(0x01, b"a") + client_frame(TEXT, b"b"), [Violation(1002, "")]),
    "fragmented ping": (client_frame(0x09, b"a"), [Violation(1002, "")]),
    "long ping": (client_frame(PING, b"x" * 126), [Violation(1002, "")]),
    "close with half a code": (client_frame(CLOSE, b"\x03"), [Violation(1002, "")]),
    "close with a reserved code": (client_close(1005), [Violation(1002, "")]),
    "close with bad UTF-8": (client_frame(CLOSE, b"\x03\xe8\xff"), [Violation(1007, "")]),
    "bad UTF-8": (client_frame(TEXT, b"a\xff"), [Violation(1007, "")]),
    "bad UTF-8 in a first fragment": (client_frame(0x01, b"\xed\xa0\x80"), [Violation(1007, "")]),
    "unfinished UTF-8": (client_frame(TEXT, b"\xc3"), [Violation(1007, "")]),
    "too big": (client_frame(BINARY, b"x" * (LIMIT + 1)), [Violation(1009, "")]),
    "too big together": (
        client_frame(0x02, b"x" * LIMIT) + client_frame(0x80, b"x"),
        [Violation(1009, "")],
    ),
    "just not too big": (client_frame(BINARY, b"x" * LIMIT) * 2, [b"x" * LIMIT, b"x" * LIMIT]),
}
COMPRESSED: dict[str, tuple[bytes, list[Event]]] = {
    "compressed": (client_frame(0xC1, DEFLATED), ["hello " * 20]),
    "compressed fragments": (
        client_frame(0x41, DEFLATED[:3]) + client_frame(PING) + client_frame(0x80, DEFLATED[3:]),
        [Ping(b""), "hello " * 20],
    ),
    "compressed or not": (client_frame(0xC1, DEFLATED) + client_frame(TEXT, b"a"), ["hello " * 20, "a"]),
    "compressed ping": (client_frame(0xC9, b"a"), [Violation(1002, "")]),
    "compressed continuation": (client_frame(0x41, DEFLATED[:3]) + client_frame(0xC0), [Violation(1002, "")]),
}


def comparable(events: Sequence[Event]) -> list[Event]:
    """What the reader has to say about a violation is its own affair."""
    return [Violation(event.code, "") if isinstance(event, Violation) else event for event in events]


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize("name", CASES | COMPRESSED)
def test_every_reader_says_the_same_of(name: str, make: MakeReader) -> None:
    data, expected = (CASES | COMPRESSED)[name]
    agreement = Agreement() if name in COMPRESSED else None
    assert comparable(read_all(make(LIMIT, agreement), [data])) == expected
    bytewise = [data[index : index + 1] for index in range(len(data))]
    assert comparable(read_all(make(LIMIT, agreement), bytewise)) == expected


@pytest.mark.parametrize("make", [FastReader, ReferenceReader])
def test_bad_utf8_is_found_before_the_frame_is_whole(make: MakeReader) -> None:
    frame = client_frame(TEXT, b"good \xff" + b"x" * 1000)
    assert comparable(read_all(make(LIMIT, None), [frame[:20]])) == [Violation(1007, "")]


@pytest.mark.parametrize("make", READERS)
def test_a_length_that_no_message_may_have_is_refused_before_its_bytes_come(make: MakeReader) -> None:
    assert comparable(read_all(make(LIMIT, None), [b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"abcd"])) == [
        Violation(1009, "")
    ]


@pytest.mark.parametrize("make", READERS)
def test_a_compression_bomb_meets_the_limit(make: MakeReader) -> None:
    bomb = Deflater(Agreement()).message(bytes(1 << 26))
    assert len(bomb) < 1 << 17
    reader = make(1 << 20, Agreement())
    assert comparable(read_all(reader, [client_frame(0xC2, bomb)])) == [Violation(1009, "")]


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x06"])
def test_what_does_not_inflate_ends_the_connection(make: MakeReader, payload: bytes) -> None:
    events = read_all(make(LIMIT, Agreement()), [client_frame(0xC2, payload)])
    assert isinstance(events[-1], Violation)
    assert events[-1].code in (1002, 1007)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.binary(max_size=3000), max_size=5),
    st.sampled_from([Agreement(), Agreement(9, 8), Agreement(12, 12, False, False), Agreement(15, 15, True, False)]),
)
def test_what_is_deflated_inflates_to_the_same(messages: list[bytes], agreement: Agreement) -> None:
    deflater = Deflater(agreement)
    client = zlib.decompressobj(wbits=-agreement.server_window)
    for message in messages:
        if not agreement.server_takeover:
            client = zlib.decompressobj(wbits=-agreement.server_window)
        assert client.decompress(deflater.message(message) + b"\x00\x00\xff\xff") == message
    inflater = Inflater(agreement)
    writer = zlib.compressobj(wbits=-max(agreement.client_window or 15, 9))
    for message in messages:
        if not agreement.client_takeover:
            writer = zlib.compressobj(wbits=-max(agreement.client_window or 15, 9))
        payload = (writer.compress(message) + writer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        assert inflater.feed(payload, 3000) + inflater.end(3000) == message


def test_an_inflater_stops_at_its_budget_and_survives_a_final_block() -> None:
    with pytest.raises(TooBig):
        Inflater(Agreement()).feed(Deflater(Agreement()).message(bytes(100)), 99)
    inflater = Inflater(Agreement())
    # RFC 7692 section 7.2.3.4: a block with BFINAL set, and the byte that goes before the tail.
    final = bytes.fromhex("f348cdc9c9070000")
    for _ in range(2):
        assert inflater.feed(final, 99) + inflater.end(99) == b"Hello"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_are_of_minimal_length(size: int) -> None:
    payload = b"x" * size
    assert list(server_frames(frames.text(payload) + frames.binary(payload))) == [(TEXT, payload), (BINARY, payload)]


def test_closing_frames() -> None:
    assert frames.close(1000) == b"\x88\x02\x03\xe8"
    assert frames.close(1005) == b"\x88\x00"
    assert frames.close(3001, "ende") == b"\x88\x06\x0b\xb9ende"
    long = frames.close(1000, "ä" * 100)
    assert len(long) == 2 + 2 + 122
    long[4:].decode()


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        (999, False),
        (1000, True),
        (1004, False),
        (1005, False),
        (1006, False),
        (1012, True),
        (1015, False),
        (2999, False),
        (3000, True),
        (4999, True),
        (5000, False),
    ],
)
def test_codes_that_may_be_sent(code: int, allowed: bool) -> None:
    assert frames.may_be_sent(code) is allowed
