"""Made-up clients: any frames, some of them spoilt, in any splits. Nothing breaks, splits change nothing, and where the package
``h2`` takes all that was sent, too, both read the same requests."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from support.h2_raw import GET, block, outcome, request, statuses
from support.h2_wire import H2Wire, h2
from support.mutate import SECONDS, seed
from support.wire import Seen, split_bytes
from tricorn.protocols.http2 import frames as f

ROUNDS = 250
PSEUDO = [GET, (("method", "POST"), *GET[1:]), (*GET[:2], ("path", "/x?y"), GET[3]), GET[:3], (*GET, ("path", "/"))]
FIELDS: list[tuple[tuple[str, str], ...]] = [(), (("a", "b"),), (("content-length", "3"),), (("te", "trailers"),)]
FIELDS += [(("A", "b"),), (("connection", "close"),), (("cookie", "a"), ("cookie", "b")), (("a", " b"),), (("host", "a"),)]


def make_frame(chance: random.Random) -> bytes:
    stream = chance.choice([0, 1, 1, 1, 3, 3, 5, 7, 2, 0x7FFFFFFF])
    head = block(*chance.choice(FIELDS), pseudo=chance.choice(PSEUDO))
    kinds = [
        lambda: request(stream, *chance.choice(FIELDS), end=chance.random() < 0.5, pseudo=chance.choice(PSEUDO)),
        lambda: request(stream, *chance.choice(FIELDS), end=chance.random() < 0.5),
        lambda: f.frame(f.DATA, chance.choice([0, 1]), stream, b"x" * chance.choice([0, 1, 3, 100, 16384])),
        lambda: f.frame(f.DATA, chance.choice([8, 9]), stream, bytes((chance.choice([0, 2, 200]),)) + b"abcd"),
        lambda: f.frame(f.HEADERS, chance.choice([0, 1]), stream, head[:4]) + f.frame(f.CONTINUATION, 4, stream, head[4:]),
        lambda: f.headers(stream, block(("x", "y"), pseudo=()), True),
        lambda: f.reset(stream, 8),
        lambda: f.window_update(stream, chance.choice([0, 1, 1000, 0x7FFFFFFF])),
        lambda: f.settings({chance.randrange(1, 9): chance.choice([0, 1, 16384, 65535, 1 << 31])}),
        lambda: f.frame(f.PING, chance.choice([0, 1]), 0, bytes(8)),
        lambda: f.frame(f.PRIORITY, 0, stream, bytes(5)),
        lambda: f.frame(f.PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1"),
        lambda: f.frame(chance.randrange(256), chance.randrange(256), stream, chance.randbytes(chance.choice([0, 4, 8]))),
    ]
    return chance.choice(kinds)()


def make_client(chance: random.Random) -> bytes:
    data = bytearray(b"".join(make_frame(chance) for _ in range(chance.randrange(1, 8))))
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return f.PREFACE + f.settings({}) + bytes(data)


def split(chance: random.Random, data: bytes) -> list[bytes]:
    if len(data) < 400 and chance.random() < 0.5:
        return split_bytes(data)
    pieces, at = [], 0
    while at < len(data):
        size = chance.choice([1, 5, 9, 40, 5000])
        pieces.append(data[at : at + size])
        at += size
    return pieces


def target_of(seen: Seen) -> bytes:
    query: bytes = seen.scope["query_string"]
    return seen.scope["raw_path"] + (b"?" + query if query else b"")  # type: ignore[no-any-return]


async def play(pieces: list[bytes]) -> tuple[Any, ...]:
    wire = H2Wire(begin=False)
    for piece in pieces:
        if not wire.transport.closing:
            wire.connection.data_received(piece)
    await wire.settle()
    seen = sorted((one.line.partition(" ")[0], target_of(one), one.body) for one in wire.seen if one.whole)
    result = sorted(set(outcome(wire))), statuses(wire), seen, wire.transport.closed
    wire.transport.lose()
    await wire.settle()
    assert not wire.service.in_flight
    assert not wire.service.connections
    assert not wire.transport.wrong
    return result


def read_by_reference(data: bytes) -> list[Any] | None:
    """The requests that came to their end, or None if the reference refuses something."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    heads: dict[int, list[tuple[bytes, bytes]]] = {}
    bodies: dict[int, bytes] = {}
    found = []
    try:
        events = server.receive_data(data)
    except h2.exceptions.ProtocolError:
        return None
    for event in events:
        if isinstance(event, h2.events.RequestReceived):
            heads[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.DataReceived):
            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
        elif isinstance(event, h2.events.StreamReset):
            heads.pop(event.stream_id, None)
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in heads:
            found.append(event.stream_id)
    return sorted(
        (dict(heads[stream])[b":method"].decode(), dict(heads[stream])[b":path"], bodies.get(stream, b""))
        for stream in found
        if stream in heads
    )


def test_any_client() -> None:
    chance = random.Random(seed())
    agreed = 0
    for number in range(ROUNDS * (100 if SECONDS else 1)):
        data = make_client(chance)
        whole = asyncio.run(play([data]))
        parts = asyncio.run(play(split(chance, data)))
        # An answer may or may not have left before a fault: what is refused, and how, is the same.
        assert whole[0] == parts[0] or whole[3] == parts[3], f"round {number}: {data.hex()}"
        assert whole[3] == parts[3], f"round {number}: {data.hex()}"
        requests = read_by_reference(data)
        if requests is None or any(scope == "connection" or code for scope, _, code in whole[0]):
            continue
        refused = [status for status in whole[1].values() if status.startswith("4")]
        if not refused:
            assert whole[2] == requests, f"round {number}: {data.hex()}"
            agreed += 1
    assert agreed > ROUNDS // 20
