"""Requests made worse at random: reproducible from a seed, steered towards what HTTP parsers are known to disagree about."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

from support.http_cases import rows

END = b"\r\n\r\n"
NASTY = [
    *(bytes([code]) for code in (0, 1, 9, 10, 11, 12, 13, 27, 32, 35, 44, 58, 59, 61, 64, 127, 128, 160, 178, 255)),
    *(b"\r\n", b"\n\n", b"\r\r\n", b"\r\n ", b"\r\n\t", b" :", b"\t:", b": ", b"::", b"\r\n\r\n", b"  ", b", ", b"%00", b"%zz"),
    *(b"Host: b\r\n", b"Content-Length: 5\r\n", b"content-length:0\r\n", b"Content-Length: 05\r\n", b"Content_Length: 1\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"TE: trailers\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, Upgrade\r\n", b"Upgrade: websocket\r\n", b"Content-Type: a\r\n"),
    *(b"Content-Length:\t5 \t\r\n", b"Host:\r\n", b"Content-Type: a\r\ncontent-type:a\r\n", b"Upgrade: h2c, WebSocket\r\n"),
    *(b"X: \xff\r\n", b"X:\r\n", b": a\r\n", b"X\r\n", b" X: a\r\n", b"http://b", b"*", b"/", b"?", b"HTTP/1.1", b"HTTP/1.0"),
]


def seed() -> int:
    """Of this run: TRICORN_SEED, or always the same, so that a test that passed for its author passes for all."""
    return int(SEED or 20260101)


# Read when imported: the fixture that shields tests from Tricorn's environment variables takes these away too.
SEED = os.environ.get("TRICORN_SEED")
SECONDS = os.environ.get("TRICORN_FUZZ_SECONDS")


def rounds(count: int) -> Iterator[int]:
    """``count`` rounds, or as many as fit into TRICORN_FUZZ_SECONDS if that is set."""
    if not SECONDS:
        yield from range(count)
        return
    end, number = time.monotonic() + float(SECONDS), 0
    while time.monotonic() < end:
        yield number
        number += 1


def corpus(longest: int = 2000) -> list[bytes]:
    """What to start from: all rows of the table, and some requests as real clients send them."""
    browser = (
        b"GET /a?b=c HTTP/1.1\r\nHost: example.org:8000\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept: text/html,*/*;q=0.8\r\n"
        b"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\nDNT: 1\r\n\r\n"
    )
    upload = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    return [browser, upload, *sorted({row.data for row in rows() if 0 < len(row.data) <= longest})]


def heads() -> list[bytes]:
    """The heads of the corpus."""
    return sorted({data[: data.index(END) + 4] for data in corpus() if END in data})


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(NASTY) + data[at:]


def _replace(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(NASTY) + data[at + 1 :]


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _delete(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randint(1, 4) :]


def _repeat_line(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return b"\r\n".join(lines)


def _swap_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def _change_case(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at : at + 9].swapcase() + data[at + 9 :]


CHANGES: list[Callable[[bytes, random.Random], bytes]] = [
    _insert,
    _replace,
    _flip,
    _delete,
    _repeat_line,
    _swap_lines,
    _change_case,
]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to four changes."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        if data:
            data = chance.choice(CHANGES)(data, chance)
    return data
