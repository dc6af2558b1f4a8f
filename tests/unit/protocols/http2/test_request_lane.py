"""The lane for requests that differ in their path: it agrees with what reads all requests, whatever the fields are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tricorn.errors import BadRequest
from tricorn.protocols.http2.frames import StreamFault
from tricorn.protocols.http2.head import Request, RequestLane, read_request
from tricorn.protocols.limits import Limits

LIMITS = Limits(request_line=100, field_size=200, head=400, header_count=8)
NAMES = [
    b":method",
    b":path",
    b":scheme",
    b":authority",
    b":protocol",
    b"host",
    b"cookie",
    b"content-length",
    b"te",
    b"a",
    b"A",
]
VALUES = [
    b"GET",
    b"POST",
    b"CONNECT",
    b"/",
    b"/a?b",
    b"/#",
    b"*",
    b"a b",
    b"http",
    b"x",
    b"1",
    b"",
    b"trailers",
    b"/" + b"x" * 120,
]
FIELD = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
PSEUDO = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a")]


def outcome(read: object, fields: list[tuple[bytes, bytes]]) -> object:
    size = sum(len(name) + len(value) + 4 for name, value in fields)
    try:
        request = read(fields, size)  # type: ignore[operator]
    except (BadRequest, StreamFault) as error:
        return type(error), str(error)
    assert isinstance(request, Request)
    return request.head, request.length, request.urgency, request.protocol


@given(st.lists(st.tuples(st.permutations([*PSEUDO, (b":path", b"/")]), st.lists(FIELD, max_size=3)), max_size=6))
@settings(max_examples=150, deadline=None)
def test_agrees_for_any_fields(heads: list[tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]]) -> None:
    lane = RequestLane(LIMITS)
    for pseudo, fields in heads:
        for target in (b"/", b"/a%20b?c", b"*", b"/#", b"", b"x", b"/" + b"x" * 99, b"/\xe9"):
            head = [(name, target if name == b":path" else value) for name, value in pseudo] + fields
            assert outcome(lane.read, head) == outcome(lambda fields, size: read_request(fields, size, LIMITS), head)


@pytest.mark.parametrize("place", range(5))
def test_path_behind_a_field_is_never_taken(place: int) -> None:
    lane = RequestLane(Limits())
    fields = [*PSEUDO, (b"x", b"1")]
    for at in (0, place, 4):
        head = [*fields[:at], (b":path", b"/%d" % at), *fields[at:]]
        if at < 4:
            lane.read(head, 100)
        else:
            with pytest.raises(StreamFault):
                lane.read(head, 100)
