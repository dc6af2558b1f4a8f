"""The one wait: what ends it, beside the signals (see test_host.py)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from tricorn.supervisor.own_descriptors import OwnDescriptors
from tricorn.supervisor.wakeup import MAX_SPEAKERS, Wakeup


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    made = Wakeup(OwnDescriptors())
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def fill(channel: socket.socket) -> None:
    """Write until the kernel takes no more."""
    try:
        while True:
            channel.send(bytes(65536))
    except BlockingIOError:
        return


def drain(channel: socket.socket) -> None:
    """Read all there is."""
    try:
        while channel.recv(65536):
            pass
    except BlockingIOError:
        return


def test_a_channel_that_can_be_written_is_news_only_if_something_is_unsent(
    wakeup: Wakeup, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _ = pair
    wakeup.watch(ours, "reader")
    assert wakeup.wait(0) == ([], [])
    wakeup.watch(ours, "reader", has_unsent=True)
    assert wakeup.wait(None) == ([], ["reader"])
    wakeup.watch(ours, "reader")
    assert wakeup.wait(0) == ([], [])


def test_a_slow_reader_delays_nobody_until_it_reads(wakeup: Wakeup, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    fill(ours)
    wakeup.watch(ours, "slow reader", has_unsent=True)
    assert wakeup.wait(0) == ([], [])
    # What it says is heard all the same.
    theirs.send(b"status")
    assert wakeup.wait(None) == ([], ["slow reader"])
    assert ours.recv(100) == b"status"
    assert wakeup.wait(0) == ([], [])
    drain(theirs)
    assert wakeup.wait(None) == ([], ["slow reader"])


def test_a_channel_that_is_forgotten_is_no_news(wakeup: Wakeup, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    wakeup.watch(ours, "reader", has_unsent=True)
    wakeup.forget(ours)
    wakeup.forget(ours)
    assert wakeup.wait(0) == ([], [])


def test_many_speakers_take_turns(wakeup: Wakeup) -> None:
    pairs = [socket.socketpair() for _ in range(MAX_SPEAKERS + 3)]
    try:
        for number, (ours, _) in enumerate(pairs):
            wakeup.watch(ours, number, has_unsent=True)
        first, second = wakeup.wait(None)[1], wakeup.wait(None)[1]
        assert len(first) == len(second) == MAX_SPEAKERS
        assert set(first) | set(second) == set(range(len(pairs)))
    finally:
        for pair in pairs:
            for end in pair:
                wakeup.forget(end)
                end.close()
