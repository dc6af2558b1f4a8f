"""Made-up clients against a whole connection: see README.md."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.mutate import corpus, mutate
from support.wire import CODECS, Outcome, Receive, Send, Wire, echo

LARGEST = 512 * 1024
"""Bytes that one connection may hold of what a client sent: a read of the event loop (256 KiB) above the limits, and a head."""
CORPUS = Path(__file__).resolve().parent / "corpus"


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Does what applications do, by the length of the target: reads or not, streams or not, fails early or late."""
    kind = len(scope["raw_path"]) % 7
    if kind == 1:
        raise ValueError("before the response")
    if kind == 2:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 10, "more_body": True})
        raise ValueError("in the middle of the response")
    if kind == 3:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"not read"})
        return
    if kind == 4:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        for piece in (b"ab", b"cd", b"ef"):
            await send({"type": "http.response.body", "body": piece, "more_body": piece != b"ef"})
        return
    await echo(scope, receive, send)


def clients(chance: random.Random) -> Iterator[list[bytes]]:
    """What a client sends, in its pieces: first the corpus in the tree, then mutations for ever."""
    for path in sorted(CORPUS.iterdir()):
        yield [path.read_bytes()]
    begins = corpus(600)
    while True:
        data = b"".join(mutate(chance.choice(begins), chance) for _ in range(chance.choice((1, 1, 2, 3))))
        yield cut(data, chance)


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    places = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 3, 9))))})
    return [data[start:end] for start, end in itertools.pairwise(places)] if data else []


async def live(pieces: list[bytes], codec: str, half_close: bool) -> Outcome:
    """One connection's life; asserts what must hold for any client."""
    wire = Wire(app, codec)
    troubles: list[dict[str, Any]] = []
    wire.loop.set_exception_handler(lambda _, context: troubles.append(context))
    for piece in pieces:
        await wire.feed(piece)
        held = wire.connection.waiting
        assert held <= LARGEST, f"{held} bytes held"
    await wire.settle()
    if half_close:
        await wire.half_close()
        await wire.settle()
    outcome = summarize(wire)
    wire.transport.lose()
    await wire.settle()
    assert not troubles, troubles
    assert not wire.service.in_flight, "the application goes on after the connection's end"
    assert not wire.service.connections
    return outcome


def summarize(wire: Wire) -> Outcome:
    assert not wire.transport.wrong, wire.transport.wrong
    answers = wire.responses()
    finals = [answer for answer in answers if answer.status >= 200]
    refusals = len(finals) - len(wire.seen)
    assert refusals <= 1, f"{len(finals)} answers to {len(wire.seen)} requests and at most one refusal"
    assert all(answer.whole for answer in answers[:-1]), "an answer cut short in the middle"
    if finals and finals[-1]["connection"] == "close":
        assert wire.transport.closed, "a promise to close that is not kept"
    if refusals == 1:
        assert finals[-1].status >= 400
    lines = [seen.line for seen in wire.seen if seen.whole]
    return Outcome([answer.status for answer in answers], wire.transport.closed, lines, [answer.body for answer in answers])


async def check(pieces: list[bytes], half_close: bool) -> None:
    """One client, by every codec, in its pieces and whole."""
    whole = [b"".join(pieces)] if pieces else []
    outcomes = {codec: await live(pieces, codec, half_close) for codec in CODECS}
    first = outcomes["h11"]
    for codec, outcome in outcomes.items():
        assert (outcome.statuses, outcome.requests) == (first.statuses, first.requests), f"{codec}: {outcome}, h11: {first}"
    again = await live(whole, "auto", half_close)
    # What the application saw does not depend on how the bytes were cut. (The answers do: an error found behind the head
    # can come before or after the application's own answer.)
    assert again.requests == first.requests or len(again.statuses) != len(first.statuses), f"whole: {again}, in pieces: {first}"


async def fuzz(seed: int, seconds: float | None, rounds: int | None) -> int:
    """Until the time or the rounds are over; returns how many clients there were. Raises AssertionError naming the client."""
    chance = random.Random(seed)
    end = time.monotonic() + seconds if seconds is not None else None
    count = 0
    for pieces in clients(chance):
        half_close = chance.random() < 0.3
        try:
            await check(pieces, half_close)
        except Exception as error:
            raise AssertionError(f"client {count} of seed {seed}: {pieces!r}, half_close={half_close}: {error}") from error
        count += 1
        if (rounds is not None and count >= rounds) or (end is not None and time.monotonic() > end):
            break
    return count


def main() -> None:
    import logging

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"seed {options.seed}, {options.seconds:g} s", flush=True)
    print(f"{asyncio.run(fuzz(options.seed, options.seconds, None))} clients, nothing found")


if __name__ == "__main__":
    main()
