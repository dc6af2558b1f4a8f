"""HPACK against RFC 7541's own examples and against the package ``hpack``, for any fields and any bytes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tricorn.protocols.http2 import huffman
from tricorn.protocols.http2.hpack import STATIC, TABLE_SIZE, CompressionError, Decoder, HeaderBomb, encode_field

hpack: Any = pytest.importorskip("hpack")
LIMIT = 1 << 20
FIRST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
SECOND = [*FIRST, (b"cache-control", b"no-cache")]
THIRD = [
    *((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com")),
    (b"custom-key", b"custom-value"),
]


def decode(*blocks: str) -> list[list[tuple[bytes, bytes]]]:
    decoder = Decoder()
    return [decoder.decode(bytes.fromhex(block), LIMIT)[0] for block in blocks]


@pytest.mark.parametrize(
    ("blocks", "fields"),
    [
        # Appendix C.2: one representation of each kind.
        (["400a637573746f6d2d6b65790d637573746f6d2d686561646572"], [[(b"custom-key", b"custom-header")]]),
        (["040c2f73616d706c652f70617468"], [[(b":path", b"/sample/path")]]),
        (["100870617373776f726406736563726574"], [[(b"password", b"secret")]]),
        (["82"], [[(b":method", b"GET")]]),
        # C.3 and C.4: three requests on one connection, without and with Huffman's code.
        (
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            [FIRST, SECOND, THIRD],
        ),
        (
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
            [FIRST, SECOND, THIRD],
        ),
    ],
)
def test_examples_of_the_rfc(blocks: list[str], fields: list[list[tuple[bytes, bytes]]]) -> None:
    assert decode(*blocks) == fields


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("80", "index 0 (section 6.1)"),
        ("be", "an index behind the table's end (2.3.3)"),
        ("ff8080808010", "an integer that is too large (5.1)"),
        ("ffffffffffffffffffff", "an integer without end"),
        ("ff", "an integer is missing its end"),
        ("0003616263", "a string is missing"),
        ("000a61", "a string is missing its end"),
        ("8220", "the table's size changes behind a field (4.2)"),
        ("3fe21f", "the table is larger than was allowed (6.3)"),
        ("0001618207ff", "padding longer than 7 bits (5.2)"),
        ("0001618100", "padding that is no beginning of EOS (5.2)"),
        ("00016184ffffffff", "EOS in a string (5.2)"),
    ],
)
def test_malformed_block(block: str, why: str) -> None:
    with pytest.raises(CompressionError):
        decode(block)


def test_static_table() -> None:
    assert [hpack.table.HeaderTable.STATIC_TABLE[index] for index in range(len(STATIC))] == [*STATIC]


def test_entry_that_is_too_large_empties_the_table() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b", LIMIT)
    assert decoder.decode(b"\xbe", LIMIT)[0] == [(b"a", b"b")]
    value = b"x" * TABLE_SIZE
    block = b"\x40\x01a\x7f" + bytes((0x80 | (TABLE_SIZE - 127) & 0x7F, (TABLE_SIZE - 127) >> 7)) + value
    assert decoder.decode(block, LIMIT)[0] == [(b"a", value)]
    with pytest.raises(CompressionError):
        decoder.decode(b"\xbe", LIMIT)


def test_fields_beyond_the_limit_count_and_are_not_kept() -> None:
    decoder = Decoder()
    fields, size = decoder.decode(b"\x82" * 20, 100)
    assert len(fields) == 100 // 14
    assert size == 280


def test_bomb_ends_before_all_of_it_is_decoded() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968, LIMIT)
    began = time.process_time()
    with pytest.raises(HeaderBomb):
        decoder.decode(b"\xbe" * 1_000_000, 64 * 1024)
    assert time.process_time() - began < 0.5


def test_memo_is_emptied_when_the_table_changes() -> None:
    decoder = Decoder()
    for block in (b"\x40\x01a\x01b", b"\x20", b"\x3f\xe1\x1f"):
        decoder.memo[b"x"] = 1
        decoder.decode(b"\x82\x00\x01a\x01b", LIMIT)
        assert decoder.memo, "a block that leaves the table alone"
        decoder.decode(block, LIMIT)
        assert not decoder.memo


NAMES = st.sampled_from([name for name, _ in STATIC]) | st.binary(min_size=1, max_size=40)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=12)


@given(st.lists(st.tuples(FIELDS, st.none() | st.integers(0, TABLE_SIZE)), max_size=6), st.booleans())
@settings(max_examples=80, deadline=None)
def test_reads_what_the_reference_writes(heads: list[tuple[list[tuple[bytes, bytes]], int | None]], huffman: bool) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, size in heads:
        if size is not None:
            encoder.header_table_size = size
        assert decoder.decode(encoder.encode(fields, huffman=huffman), LIMIT)[0] == fields


@given(FIELDS)
@settings(max_examples=80, deadline=None)
def test_reference_reads_what_we_write(fields: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(encode_field(name, value) for name, value in fields)
    decoded = hpack.Decoder(max_header_list_size=LIMIT).decode(block, raw=True)
    assert [(bytes(name), bytes(value)) for name, value, *_ in decoded] == fields
    assert Decoder().decode(block, LIMIT)[0] == fields


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
@settings(max_examples=500, deadline=None)
def test_agrees_with_the_reference_on_any_bytes(blocks: list[bytes]) -> None:
    """Both read the same fields, or both refuse. The reference lets a size change stand behind fields; section 4.2 does not."""
    ours, theirs = Decoder(), hpack.Decoder(max_header_list_size=LIMIT)
    for block in blocks:
        try:
            fields = ours.decode(block, LIMIT)[0]
        except CompressionError as error:
            if "behind a field" not in str(error) and "too large" not in str(error):
                with pytest.raises(hpack.exceptions.HPACKDecodingError):
                    theirs.decode(block, raw=True)
            return
        assert [(bytes(name), bytes(value)) for name, value, *_ in theirs.decode(block, raw=True)] == fields


@given(st.binary(max_size=200))
@settings(max_examples=80, deadline=None)
def test_huffman_reads_what_the_reference_writes(data: bytes) -> None:
    from hpack.huffman import HuffmanEncoder
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

    encoded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(data)
    assert huffman.decode(encoded) == data
