"""Streams of single pieces: each piece leaves at once while the worker has time, then those of fast streams are collected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.play import GET, Clock, answer, body, run, start
from support.wire import App, Receive, Send, Wire, turn
from tricorn.protocols.pace import MAX_CALLS, WINDOW

PIECES = 3 * MAX_CALLS


def one_in_each_turn(clock: Clock, step: float, count: int = PIECES, end: asyncio.Event | None = None) -> App:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send(start())
        for _ in range(count):
            await send(body(b"x", more=True))
            await asyncio.sleep(0)
            clock.now += step
        if end is not None:
            await end.wait()
        await send(body())

    return app


# The first is much shorter than the pause after which a piece leaves before the turn's end, the second is longer.
@pytest.mark.parametrize("step", [WINDOW / 1000, WINDOW / 3])
def test_a_fast_stream_is_collected_when_the_worker_has_no_time(step: float, clock: Clock) -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            for _ in range(PIECES):
                await send(body(b"x", more=True))
                await asyncio.sleep(0)
                clock.now += step
                # Other streams' pieces.
                for _ in range(MAX_CALLS):
                    wire.service.pace.spend(clock.now)
            await send(body())

        wire = Wire(app)
        await wire.feed(GET)
        while wire.service.in_flight:
            await turn(wire.loop)
        assert wire.responses()[0].body == b"x" * PIECES
        assert len(wire.transport.writes) < PIECES / 2


def test_each_piece_leaves_by_itself_while_the_worker_has_time(clock: Clock) -> None:
    @run
    async def play() -> None:
        wire = await answer(one_in_each_turn(clock, WINDOW / MAX_CALLS * 2))
        assert len(wire.transport.writes) == PIECES + 1


def test_a_slow_stream_is_never_collected(clock: Clock) -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await send(start())
            for number in range(5):
                clock.now += WINDOW * 1.1
                for _ in range(MAX_CALLS + 1):
                    wire.service.pace.spend(clock.now)
                await send(body(b"x", more=True))
                assert len(wire.transport.writes) == number + 1
                await turn(wire.loop)
            await send(body())

        wire = Wire(app)
        await wire.feed(GET)
        await wire.settle()
        assert wire.responses()[0].body == b"x" * 5


def test_what_was_collected_leaves_though_nothing_follows(clock: Clock) -> None:
    @run
    async def play() -> None:
        end = asyncio.Event()
        wire = Wire(one_in_each_turn(clock, WINDOW / 1000, MAX_CALLS + 5, end))
        await wire.feed(GET)
        while sum(data.count(b"x") for data in wire.transport.writes) < MAX_CALLS + 5:
            await turn(wire.loop)
        end.set()
        await wire.settle()
        assert wire.responses()[0].body == b"x" * (MAX_CALLS + 5)


def test_what_was_collected_for_a_client_that_has_gone_is_dropped(clock: Clock) -> None:
    @run
    async def play() -> None:
        errors: list[dict[str, Any]] = []
        end = asyncio.Event()
        wire = Wire(one_in_each_turn(clock, WINDOW / 1000, MAX_CALLS + 5, end))
        wire.loop.set_exception_handler(lambda _, context: errors.append(context))
        await wire.feed(GET)
        for _ in range(MAX_CALLS + 5):
            await turn(wire.loop)
        wire.transport.lose()
        end.set()
        await asyncio.sleep(WINDOW * 2)
        assert not errors
        assert not wire.service.in_flight
