"""Whose turn it is to accept, as the scoreboard tells."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from tricorn.ipc.scoreboard import USED, Field, Scoreboard
from tricorn.protocols.facts import Facts, MakeConnection, Opening
from tricorn.worker.acceptor import Acceptor
from tricorn.worker.owner import FleetPlace
from tricorn.worker.setup import Setup

FACTS = Facts(client=None, server=None)


class Stage:
    """One worker's acceptor on a listener of its own, and another worker that exists only on the scoreboard."""

    def __init__(self, listener: socket.socket) -> None:
        self.board = Scoreboard(4)
        self.own, self.other = self.board.claim(), self.board.claim()
        self.accepted: list[socket.socket] = []
        self.address = listener.getsockname()
        self.clients: list[socket.socket] = []
        self.made = 0
        place = FleetPlace(self.board, self.own)
        self.handshakes = None
        self.acceptor = Acceptor(asyncio.get_running_loop(), [listener], self._make, cast(Setup, self), place)
        for row in (self.own, self.other):
            self.set(row, Field.SERVING, 1)
            self.set(row, Field.BEAT, time.monotonic())

    def publish(self, made: int) -> None:
        """So many connections are open."""
        self.made = made
        self.acceptor.publish(made)

    def _make(self, transport: asyncio.Transport, facts: Facts) -> asyncio.Protocol:
        self.publish(self.made + 1)
        return asyncio.Protocol()

    needs_socket = True

    def begin(self, make: MakeConnection) -> asyncio.Protocol:
        """As Setup's."""
        return Opening(make)

    async def admit(self, connection: socket.socket, make: MakeConnection) -> None:
        """As Setup's."""
        self.accepted.append(connection)
        make(asyncio.Transport(), FACTS)

    def set(self, row: int, field: Field, value: float) -> None:
        self.board.row(row)[field] = value

    def connect(self) -> None:
        self.clients.append(socket.create_connection(self.address))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0)

    def close(self) -> None:
        self.acceptor.stop(empty=False)
        for connection in (*self.accepted, *self.clients):
            connection.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize(
    ("own", "own_busy", "other", "other_busy", "ours"),
    [(2, 100, 5, 5, False), (5, 5, 2, 100, True), (2, 100, 2, 100, True), (5, 1, 5, 1, True), (5, 1, 1, math.nan, False)],
)
def test_requests_in_flight_count_where_they_are_more(
    listener: socket.socket, own: int, own_busy: int, other: float, other_busy: float, ours: bool
) -> None:
    """Connections of HTTP/2 carry many."""

    async def run() -> None:
        stage = Stage(listener)
        stage.publish(own)
        stage.acceptor.tick(own_busy)
        stage.acceptor.tick(own_busy)
        stage.set(stage.other, Field.CONNECTIONS, other)
        stage.set(stage.other, Field.IN_FLIGHT, other_busy)
        assert stage.acceptor.is_busier() is not ours

    asyncio.run(run())


@pytest.mark.parametrize(
    ("own", "other", "ours"),
    [(0, 0, True), (0, 5, True), (5, 5, True), (1, 0, False), (6, 5, False), (9, 8, True), (110, 100, True), (113, 100, False)],
)
def test_a_worker_with_notably_more_connections_leaves_them_to_others(
    listener: socket.socket, own: int, other: int, ours: bool
) -> None:
    async def run() -> None:
        stage = Stage(listener)
        stage.publish(own)
        stage.set(stage.other, Field.CONNECTIONS, other)
        assert stage.acceptor.is_busier() is not ours

    asyncio.run(run())


@pytest.mark.parametrize("field", [Field.SERVING, Field.BEAT])
def test_who_does_not_serve_or_does_not_beat_is_not_waited_for(listener: socket.socket, field: Field) -> None:
    async def run() -> None:
        stage = Stage(listener)
        stage.publish(7)
        assert stage.acceptor.is_busier()
        stage.set(stage.other, field, 0)
        assert not stage.acceptor.is_busier()

    asyncio.run(run())


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, -5.0, 1e300, 2.0**53])
def test_what_can_not_be_on_the_scoreboard_stops_nobody(listener: socket.socket, nonsense: float) -> None:
    """Any worker can write any cell."""

    async def run() -> None:
        stage = Stage(listener)
        stage.publish(7)
        for field in Field:
            stage.set(stage.other, field, nonsense)
            stage.set(stage.own, field, nonsense)
        assert not stage.acceptor.is_busier()
        stage.board.cells[USED] = nonsense
        assert stage.board.used == 2
        stage.set(stage.other, Field.SERVING, 1)
        stage.set(stage.other, Field.BEAT, time.monotonic())
        assert not stage.acceptor.is_busier()
        stage.set(stage.other, Field.CONNECTIONS, 1)
        assert stage.acceptor.is_busier()

    asyncio.run(run())


def test_where_connections_come_and_go_nobody_waits(listener: socket.socket) -> None:
    async def run() -> None:
        stage = Stage(listener)
        await stage.acceptor.start()
        for _ in range(32):
            stage.connect()
        stage.set(stage.other, Field.CONNECTIONS, 100)
        await stage.until(lambda: len(stage.accepted) == 32)
        stage.publish(2)
        stage.set(stage.other, Field.CONNECTIONS, 1)
        assert not stage.acceptor.is_busier()  # 32 were taken, 2 are left: 30 were closed
        stage.acceptor.tick()  # the same, in the second before
        assert not stage.acceptor.is_busier()
        stage.acceptor.tick()  # and none since
        assert stage.acceptor.is_busier()
        stage.close()

    asyncio.run(run())


def test_where_connections_are_brief_their_number_does_not_count(listener: socket.socket) -> None:
    async def run() -> None:
        stage = Stage(listener)
        await stage.acceptor.start()
        for _ in range(32):
            stage.connect()
        stage.set(stage.other, Field.CONNECTIONS, 100)
        await stage.until(lambda: len(stage.accepted) == 32)
        stage.set(stage.other, Field.CONNECTIONS, 1)
        stage.publish(8)  # 24 were closed: three times as many as are open
        assert stage.acceptor.is_busier()
        stage.publish(5)  # more than five times as many
        assert not stage.acceptor.is_busier()
        stage.close()

    asyncio.run(run())


def test_a_busier_worker_takes_what_nobody_else_takes(listener: socket.socket) -> None:
    async def run() -> None:
        stage = Stage(listener)
        stage.publish(9)
        await stage.acceptor.start()
        for count in range(1, 20):
            stage.connect()
            await stage.until(lambda count=count: len(stage.accepted) == count)  # type: ignore[misc]
        stage.close()

    asyncio.run(run())


def test_a_crowd_is_taken_in_a_few_turns_but_fairly(listener: socket.socket) -> None:
    async def run() -> None:
        stage = Stage(listener)
        stage.set(stage.other, Field.CONNECTIONS, 60)
        for _ in range(100):
            stage.connect()
        await stage.acceptor.start()
        turns = 0
        while len(stage.accepted) < 60:
            await asyncio.sleep(0)
            turns += 1
        assert turns < 30
        # From then on the other worker has fewer.
        assert len(stage.accepted) < 75
        stage.close()

    asyncio.run(run())


def test_a_stop_takes_what_waits_in_the_queue(listener: socket.socket) -> None:
    async def run() -> None:
        stage = Stage(listener)
        stage.publish(9)
        for _ in range(3):
            stage.connect()
        stage.acceptor.stop(empty=True)
        await stage.acceptor.settled()
        assert len(stage.accepted) == 3
        assert listener.fileno() == -1
        stage.close()

    asyncio.run(run())
