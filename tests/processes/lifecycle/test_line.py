"""The line of workers for a listener: whom of those that sleep a connection wakes."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
from collections.abc import Iterator

import pytest
from tricorn.worker.line import Line, epoll_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll(7)")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


class Watched:
    """A line on the running loop; counts how often the loop was told of a connection."""

    def __init__(self, listener: socket.socket, *, is_wanted: bool = True) -> None:
        self.loop = asyncio.get_running_loop()
        self.listener = listener
        self.calls = 0
        self.loop.add_reader(listener.fileno(), self._ready)
        epoll = epoll_of(self.loop)
        assert epoll is not None
        self.line = Line(self.loop, listener.fileno(), epoll, is_wanted=is_wanted)

    def _ready(self) -> None:
        self.calls += 1
        self.listener.accept()[0].close()

    async def turns(self) -> int:
        """The calls after some turns of the loop, each of which asks the kernel."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.calls

    def close(self) -> None:
        self.line.close()
        self.loop.remove_reader(self.listener.fileno())


def run(listener: socket.socket, is_wanted: bool, play: str) -> list[int]:
    """The calls after each step of ``play``: c(onnect), l(eave for long), n(ot wanted), w(anted), s(tep back)."""

    async def main() -> list[int]:
        watched, clients, found = Watched(listener, is_wanted=is_wanted), [], []
        await watched.turns()
        for step in play:
            match step:
                case "c":
                    clients.append(socket.create_connection(listener.getsockname()))
                case "l":
                    watched.line.leave(3600)
                case "n":
                    watched.line.want(False)
                case "w":
                    watched.line.want(True)
                case "s":
                    watched.line.step_back()
            found.append(await watched.turns())
        watched.close()
        for client in clients:
            client.close()
        return found

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.EpollSelector())) as runner:
        return runner.run(main())


@pytest.mark.parametrize(
    ("is_wanted", "play", "calls"),
    [
        (True, "cc", [1, 2]),
        (True, "csc", [1, 1, 2]),
        (True, "clc", [1, 1, 1]),
        (True, "cnc", [1, 1, 1]),
        (True, "ncw", [0, 0, 1]),
        (True, "nlscw", [0, 0, 0, 0, 1]),
        (False, "cw", [0, 1]),
        (False, "csl", [0, 0, 0]),
    ],
)
def test_who_stands_is_told_and_who_does_not_is_not(
    listener: socket.socket, is_wanted: bool, play: str, calls: list[int]
) -> None:
    assert run(listener, is_wanted, play) == calls


def test_a_loop_without_epoll_has_none() -> None:
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        assert epoll_of(runner.get_loop()) is None
