"""Heads that come byte by byte: cheap for the server, and judged exactly as if they had come at once."""

from __future__ import annotations

import pytest
from support.play import run
from support.wire import CODECS, Wire, converse, echo, split_bytes
from tricorn.protocols.http1 import head_limits
from tricorn.protocols.limits import Limits

HEAD = b"GET /path HTTP/1.1\r\nHost: a\r\nX: "
LIMITS = Limits(request_line=100, field_size=60, head=300, header_count=10)


@pytest.mark.parametrize("codec", CODECS)
def test_a_byte_more_of_a_head_is_not_a_reason_to_look_at_the_head(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    check = head_limits.check_unfinished

    def counted(data: bytes, checked: int, limits: Limits) -> int:
        looks.append(len(data))
        return check(data, checked, limits)

    monkeypatch.setattr(head_limits, "check_unfinished", counted)

    @run
    async def play() -> None:
        wire = Wire(echo, codec)
        for byte in split_bytes(HEAD + b"b" * 5000):
            wire.transport.protocol.data_received(byte)
        # At the first byte, and around the ends of lines.
        assert len(looks) < 10
        for byte in split_bytes(b"\r\n\r\n" + HEAD + b"c\r\n\r\n"):
            wire.transport.protocol.data_received(byte)
        await wire.settle()
        assert [response.status for response in wire.responses()] == [200, 200]
        assert [len(dict(seen.scope["headers"])[b"x"]) for seen in wire.seen] == [5000, 1]


def head(target: int = 1, *values: int) -> bytes:
    """A request head with so many bytes of target, and headers with so many of value."""
    lines = b"".join(b"X: " + b"b" * size + b"\r\n" for size in values)
    return b"GET /" + b"a" * (target - 1) + b" HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"


AROUND_THE_LIMITS = {
    "request line": [head(size) for size in (86, 87, 88, 89)],
    "header": [head(1, size) for size in (54, 55, 56, 57)],
    "second header": [head(1, 9, size) for size in (54, 55, 56, 57)],
    "whole head": [head(80, 50, 50, 50, size) for size in (22, 23, 24, 25)],
    "whole head, in the middle of a line": [head(86, 50, 50, 50, size)[:-4] for size in (10, 20, 30, 40, 50)],
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("heads", AROUND_THE_LIMITS.values(), ids=AROUND_THE_LIMITS)
def test_limits_are_the_same_byte_by_byte(heads: list[bytes], codec: str) -> None:
    @run
    async def play() -> None:
        seen = []
        for data in heads:
            whole = await converse([data], codec, limits=LIMITS)
            assert await converse(split_bytes(data), codec, limits=LIMITS) == whole, data
            halves = [data[: len(data) // 2], data[len(data) // 2 :]]
            assert await converse(halves, codec, limits=LIMITS) == whole, data
            seen.append(tuple(whole.statuses))
        assert len(set(seen)) == 2, "the limit is not between these"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("wrong", [b"\n", b"\0", b"\x7f", b"\x1f", b"\r "])
@pytest.mark.parametrize("before", [b"G", b"GET /pa", HEAD + b"b" * 9])
def test_what_is_wrong_is_refused_when_it_comes(before: bytes, wrong: bytes, codec: str) -> None:
    @run
    async def play() -> None:
        outcome = await converse([before, *split_bytes(b"xyz" + wrong)], codec)
        assert (outcome.statuses, outcome.closed) == ([400], True)
