"""StatsD lines on a real UDP socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.harness import PATIENCE, Client, Server
from tricorn.admin.statsd import MAX_DATAGRAM, datagrams, report
from tricorn.ipc.counts import BUCKETS, Counts, key_of

APP = "tests.apps.counted:app"


class Receiver:
    """A StatsD server that adds the counters up."""

    def __init__(self) -> None:
        self.open(0)
        self.port = self.socket.getsockname()[1]
        self.counts: Counter[str] = Counter()
        self.workers = ""

    def open(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.socket.settimeout(PATIENCE)

    def empty(self) -> None:
        """Drop what has come."""
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.socket.recv(65536)
        self.socket.settimeout(PATIENCE)

    def receive(self) -> None:
        for line in self.socket.recv(65536).decode().split("\n"):
            found = re.fullmatch(r"([\w.]+):([\d.]+)\|(c|g|ms)(?:\|@([\de.-]+))?", line)
            assert found, line
            name, value, kind, rate = found.groups()
            if kind == "g":
                self.workers = f"{name}={value}"
            else:
                self.counts[name] += int(value) if kind == "c" else round(1 / float(rate or 1))

    def receive_until(self, name: str, value: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.counts[name] < value:
            assert time.monotonic() < deadline, self.counts
            self.receive()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.socket.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_lines_have_gunicorns_names(receiver: Receiver, host: str) -> None:
    with Server(APP, "--workers", "2", "--statsd", f"{host}:{receiver.port}", "--statsd-prefix", "shop.") as server:
        server.wait_for_ready(2)
        for _ in range(7):
            Client(server.port).get("/")
        Client(server.port).get("/?404")
        receiver.receive_until("shop.gunicorn.requests", 8)
        while receiver.workers != "shop.gunicorn.workers=2":
            receiver.receive()
        assert server.stop() == 0
    assert receiver.counts == {
        "shop.gunicorn.requests": 8,
        "shop.gunicorn.request.status.200": 7,
        "shop.gunicorn.request.status.404": 1,
        "shop.gunicorn.request.duration": 8,
    }


def test_counts_outlive_processes_and_a_receiver_that_is_away(receiver: Receiver) -> None:
    with Server(APP, "--statsd", f"127.0.0.1:{receiver.port}") as server:
        server.wait_for_ready(1)
        Client(server.port).get("/")
        receiver.receive_until("gunicorn.requests", 1)
        (worker,) = server.serving()
        (admin,) = set(server.workers()) - {worker}
        os.kill(worker, signal.SIGKILL)
        server.wait_for_ready(2)
        Client(server.port).get("/?404")
        receiver.receive_until("gunicorn.requests", 2)

        receiver.socket.close()
        receiver.open(receiver.port)
        receiver.receive()
        os.kill(admin, signal.SIGKILL)
        server.wait_until_left(admin)
        receiver.empty()
        receiver.receive()
        Client(server.port).get("/?503")
        receiver.receive_until("gunicorn.requests", 3)
        assert server.stop() == 0
    assert [receiver.counts[f"gunicorn.request.status.{status}"] for status in (200, 404, 503)] == [1, 1, 1]


def test_what_is_counted_last_is_sent_at_the_end(receiver: Receiver) -> None:
    with Server(APP, "--statsd", f"127.0.0.1:{receiver.port}") as server:
        server.wait_for_ready(1)
        receiver.empty()
        receiver.receive()
        # The next report is due in a second.
        Client(server.port).get("/")
        assert server.stop() == 0
    receiver.socket.setblocking(False)
    receiver.receive_until("gunicorn.requests", 1)


@pytest.mark.parametrize("check", [[], ["--check-config"]])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--statsd-prefix", "shop"], "--statsd-prefix shop: needs --statsd"),
        (["--admin-host", "ops.example"], "--admin-host ops.example: needs --admin-bind"),
        (["--app-metrics"], "--app-metrics: needs --admin-bind"),
    ],
)
def test_what_would_do_nothing_is_refused(arguments: list[str], said: str, check: list[str]) -> None:
    server = Server(APP, *arguments, *check)
    server.start()
    try:
        assert server.process.wait(timeout=PATIENCE) == 2
        assert f"Error: {said}\n" in server.log
    finally:
        server.__exit__(None)


def counts(**requests: int) -> Counts:
    found = Counts()
    for name, number in requests.items():
        found.add(key_of("GET", int(name[1:])), [0.0, number, *[0.0] * (BUCKETS - 2), 1.0])
    return found


def test_only_differences_are_sent() -> None:
    before, now = counts(s200=4), counts(s200=6, s503=2)
    assert list(report(now, before, 3, "a..")) == [
        "a.gunicorn.workers:3|g",
        "a.gunicorn.requests:5|c",
        "a.gunicorn.request.status.200:2|c",
        "a.gunicorn.request.status.503:3|c",
        "a.gunicorn.request.duration:0.5|ms|@0.25",
        "a.gunicorn.request.duration:10000.0|ms",
    ]
    assert list(report(now, now, 3, "")) == ["gunicorn.workers:3|g"]


def test_a_datagram_fits_into_a_frame() -> None:
    lines = [f"gunicorn.request.status.{status}:1|c" for status in range(200, 600)]
    sent = list(datagrams(iter(lines)))
    assert b"\n".join(sent).decode().split("\n") == lines
    assert max(map(len, sent)) <= MAX_DATAGRAM
