"""WebSocket scenarios: echo, broadcast and idle connections. wrk does not speak it, so the client is ``ws_client.py``."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .load import Load, MeasurementFailed, Sample
from .moments import Moment
from .servers import Running, Server

CLIENT = Path(__file__).parent / "ws_client.py"
MANY = 1000


class Client:
    """The client's process, its connections open and tried."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._answer("READY")

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self._process.pid)

    def run(self, seconds: float) -> dict[str, float]:
        """Lets it send for ``seconds``; how many ``messages`` it received in how many ``rounds`` and ``seconds``."""
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return json.loads(self._answer("RESULT"))

    def _answer(self, expected: str) -> str:
        """What follows the word ``expected``; raises MeasurementFailed for another."""
        word, _, rest = self._process.stdout.readline().strip().partition(" ")
        if word != expected:
            raise MeasurementFailed(rest or "the client ended")
        return rest


@contextlib.contextmanager
def client(running: Running, **options: object) -> Iterator[Client]:
    """A client on the CPUs that the server leaves free, until the block ends; see ``ws_client.py`` for its options."""
    command = [sys.executable, str(CLIENT), json.dumps({"port": running.port, **options})]
    with processes.on_cores(processes.load_cores(running.workers)):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield Client(process)
            process.stdin.close()
            process.wait(30)
        finally:
            process.kill()


@dataclass(frozen=True)
class Sockets(Load):
    """Messages of ``size`` bytes on ``connections`` WebSockets, echoed or, with ``broadcast``, sent on to all of them."""

    kind: str = "websocket"
    metrics: tuple[str, ...] = ("cpu_us_message", "mps", "busy", "others")
    size: int = 125
    deflate: bool = False
    broadcast: bool = False

    def warm_up(self, running: Running) -> None:
        with self._client(running) as loading:
            loading.run(0.3)

    def measure(self, running: Running, seconds: int) -> Sample:
        """One turn; what connecting and closing cost is not in it."""
        with self._client(running) as loading:
            before = running.tree()
            spent, sending, machine = processes.cpu_of(before), loading.cpu_seconds(), processes.machine_seconds()
            result = loading.run(seconds)
            after = running.tree()
            if before != after:
                raise MeasurementFailed(f"{running.server.name} lost or gained a process: {running.last_words()}")
            spent = processes.cpu_of(after) - spent
            others = processes.machine_seconds() - machine - (loading.cpu_seconds() - sending) - spent
        return {
            "cpu_us_message": spent / result["messages"] * 1e6,
            "mps": result["messages"] / result["seconds"],
            "deliver_ms": result["seconds"] / result["rounds"] * 1e3,
            "busy": spent / result["seconds"],
            "others": max(0, others / result["seconds"]),
        }

    def _client(self, running: Running) -> contextlib.AbstractContextManager[Client]:
        return client(
            running,
            path="/broadcast" if self.broadcast else "/",
            connections=self.connections,
            size=self.size,
            deflate=self.deflate,
            all=self.broadcast,
        )


def idle_connections(server: Server, workers: int, *, deflate: bool, many: int = MANY, settle: float = 0.5) -> Sample:
    """KiB per connection: what ``many`` add to a server that has had a few, each after one message of 125 bytes."""
    with Running(server, workers) as running:
        connect = functools.partial(client, running, path="/", size=125, deflate=deflate, all=False)
        with connect(connections=20):
            pass
        time.sleep(settle)
        before = running.private_memory()
        with connect(connections=many):
            time.sleep(settle)
            after = running.private_memory()
        return {"kib_connection": (after - before) / many / 1024, "private_mib": after / 2**20}


def echo(size: int, words: str, connections: int, deflate: bool = False) -> Sockets:
    name = f"ws-{words.replace(' ', '').lower().removesuffix('b')}{'-deflate' if deflate else ''}"
    how = " with permessage-deflate" if deflate else ""
    title = f"WebSocket echo of {words}{how}, {connections} connections, 1 worker"
    return Sockets(name, title, connections=connections, size=size, deflate=deflate, quick=name == "ws-125")


def idle(deflate: bool, many: int = MANY) -> Moment:
    name, how = ("ws-idle-deflate", " with permessage-deflate") if deflate else ("ws-idle", "")
    title = f"Idle WebSockets{how}, {many:,}, 1 worker"
    measure = functools.partial(idle_connections, deflate=deflate, many=many)
    usual = many == MANY
    name = name if usual else f"{name}-{many}"
    return Moment(name, title, ("kib_connection", "private_mib"), measure, default=usual, kind="websocket")


def broadcast(connections: int) -> Sockets:
    name = "ws-broadcast" if connections == MANY else f"ws-broadcast-{connections}"
    title = f"WebSocket broadcast of 125 B to {connections:,} connections, 1 worker"
    metrics = ("cpu_us_message", "deliver_ms", "mps", "busy", "others")
    usual = connections == MANY
    return Sockets(name, title, connections=connections, broadcast=True, default=usual, metrics=metrics)


SOCKET_LOADS: tuple[Sockets, ...] = (
    *(
        echo(size, words, connections, deflate)
        for deflate in (False, True)
        for size, words, connections in ((125, "125 B", 64), (4096, "4 KB", 64), (2**20, "1 MB", 4))
    ),
    *map(broadcast, (MANY, 5 * MANY)),
)
SOCKET_MOMENTS = tuple(idle(deflate, many) for many in (MANY, 10 * MANY) for deflate in (False, True))
