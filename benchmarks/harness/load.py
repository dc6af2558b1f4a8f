"""Scenarios with load: what wrk sees, and what the server's processes spend meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .servers import HOST, Running, ask

LUA = Path(__file__).parent / "lua"
Sample = dict[str, float]
"""What was measured once, by the name of the metric; see ``results.METRICS`` for their units."""


@dataclass(frozen=True)
class Load:
    """One kind of request from ``connections`` clients at once; ``workers`` 0: as many as the command line says."""

    name: str
    title: str
    path: str = "/"
    script: str = "get"
    argument: str = ""
    """What the script is given."""
    connections: int = 64
    workers: int = 1
    access_log: bool = False
    tls: bool = False
    quick: bool = False
    default: bool = True
    kind: str = "http"
    """Which servers take part: those with this word in their ``kinds``."""
    least: int = 1
    """The seconds a turn takes at least, for requests that take long."""
    metrics: tuple[str, ...] = ("cpu_us", "rps", "p50_ms", "p99_ms", "busy", "others", "errors")

    def warm_up(self, running: Running) -> None:
        """Lets the interpreter specialise and the caches fill."""
        self.run(running.port, self.least, processes.load_cores(running.workers))

    def run(self, port: int, seconds: int, cores: set[int] | None) -> Mapping[str, float]:
        """Sends requests for ``seconds``; what ``sample_of`` takes."""
        return wrk(self, port, seconds, cores)

    def measure(self, running: Running, seconds: int) -> Sample:
        """One turn, in ``seconds``; raises MeasurementFailed if it would be worth nothing."""
        seconds, before = max(seconds, self.least), running.tree()
        spent, loading, machine = processes.cpu_of(before), processes.children_seconds(), processes.machine_seconds()
        result = self.run(running.port, seconds, processes.load_cores(running.workers))
        after = running.tree()
        if before != after:
            raise MeasurementFailed(f"{running.server.name} lost or gained a process under {self.name}: {running.last_words()}")
        spent = processes.cpu_of(after) - spent
        others = processes.machine_seconds() - machine - (processes.children_seconds() - loading) - spent
        return {**sample_of(result, spent), "others": max(0, others / seconds)}


class MeasurementFailed(Exception):
    """A turn that gave no usable figures, and why."""


def wrk(load: Load, port: int, seconds: int, cores: set[int] | None) -> Mapping[str, float]:
    """Runs wrk, with one thread; what ``lua/report.lua`` printed."""
    command = [
        *("wrk", "--threads", "1", "--connections", str(load.connections), "--duration", f"{seconds}s"),
        *("--timeout", "5s", "--latency", "--script", f"{load.script}.lua", f"http{'s' * load.tls}://{HOST}:{port}{load.path}"),
        *(("--", load.argument) if load.argument else ()),
    ]
    with processes.on_cores(cores):
        done = subprocess.run(command, cwd=LUA, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise MeasurementFailed(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    return json.loads(lines[0].removeprefix("RESULT "))


def sample_of(result: Mapping[str, float], spent: float) -> Sample:
    """The metrics of one run of wrk and the server's CPU seconds ``spent`` on it."""
    requests, seconds = result["requests"], result["duration_us"] / 1e6
    errors = sum(result[kind] for kind in ("connect", "read", "write", "status", "timeout"))
    if not requests:
        raise MeasurementFailed(f"no request was answered, {errors} errors")
    return {
        "cpu_us": spent / requests * 1e6,
        "rps": requests / seconds,
        **{f"{name}_ms": result[f"{name}_us"] / 1e3 for name in ("p50", "p90", "p99", "p999")},
        "busy": spent / seconds,
        "errors": errors,
    }


@dataclass(frozen=True)
class Rate(Load):
    """A constant rate: ``fraction`` of what the same server takes at most, measured right before."""

    fraction: float = 1.0
    default: bool = False
    metrics: tuple[str, ...] = ("p50_ms", "p99_ms", "p999_ms", "rps", "cpu_us", "others", "errors")

    def measure(self, running: Running, seconds: int) -> Sample:
        most = sample_of(wrk(self, running.port, 1, processes.load_cores(running.workers)), 0)["rps"]
        paced = Load(self.name, self.title, script="rate", argument=f"{most * self.fraction:.0f}", workers=self.workers)
        return paced.measure(running, seconds)


def closing(workers: int, connections: int) -> Load:
    """Whether sharing the accept queue costs latency."""
    title = f"A connection per request, {connections} at once, {workers} workers: latency"
    metrics = ("p50_ms", "p90_ms", "p99_ms", "cpu_us", "rps", "others", "errors")
    path, script = "/closing", "close"
    return Load(f"close-{workers}-{connections}", title, path, script, "", connections, workers, default=False, metrics=metrics)


def by_workers(workers: int) -> Load:
    """What a request costs, and how that grows with the number of workers."""
    return Load(f"get-w{workers}", f"Bare GET, 64 connections, {workers} workers", workers=workers, default=False)


MB = 10**6

LOADS: tuple[Load, ...] = (
    Load("get", "Bare GET, 64 connections, 1 worker", quick=True),
    Load("browser", "GET as a browser sends it, 64 connections, 1 worker", "/items", "browser", quick=True),
    Load("post", "POST of 1 KB, 64 connections, 1 worker", "/post", "post", quick=True),
    Load("large", "Response of 100 KB, 64 connections, 1 worker", "/large", quick=True),
    Load("stream", "Stream of 20 chunks of 1 KB, 64 connections, 1 worker", "/stream", quick=True),
    Load("tokens", "20 chunks of 1 KB, a pause after each, 64 connections, 1 worker", "/tokens"),
    Load("events", "20 events of 1 KB, 5 ms apart, 64 connections, 1 worker", "/events"),
    Load("upload", "Upload of 1 MB, 16 connections, 1 worker", "/post", "upload", str(MB), 16),
    Load("upload-kept", "Upload of 1 MB that is collected, 16 connections, 1 worker", "/kept", "upload", str(MB), 16),
    Load(
        "upload-unread", "Upload of 1 MB that is not read, 16 connections, 1 worker", "/", "upload", str(MB), 16, default=False
    ),
    Load("upload-large", "Upload of 100 MB, 2 connections, 1 worker", "/post", "upload", str(100 * MB), 2, least=4),
    Load("multipart", "Form with a file of 64 KiB, to Starlette, 16 connections, 1 worker", "/form", "multipart", "", 16),
    Load("get-1", "Bare GET, 1 connection, 1 worker", connections=1),
    Load("get-1000", "Bare GET, 1,000 connections, 1 worker", connections=1000),
    Load("close", "A connection per request, 64 at once, 1 worker", "/closing", "close"),
    Load("tls-close", "A TLS connection per request, 64 at once, 1 worker", "/closing", "close", tls=True),
    Load("tls-large", "Response of 100 KB over TLS, 64 connections, 1 worker", "/large", tls=True),
    Load("get-log", "Bare GET with access log, 64 connections, 1 worker", access_log=True),
    Load("get-n", "Bare GET, 64 connections, {workers} workers", workers=0),
    Load("browser-n", "GET as a browser sends it, 64 connections, {workers} workers", "/items", "browser", workers=0),
    Load("get-n-1000", "Bare GET, 1,000 connections, {workers} workers", connections=1000, workers=0),
    *(by_workers(workers) for workers in (2, 8, 16, 32, 64)),
    *(closing(workers, connections) for workers in (2, 4, 8, 32) for connections in (4, 16, 64)),
    *(
        Rate(
            f"rate-{percent}", f"{percent} % of the highest rate, 64 connections, 2 workers", workers=2, fraction=percent / 100
        )
        for percent in (50, 80)
    ),
)

EXPECTED: Mapping[str, bytes] = {
    "/": b"Hello, world!",
    "/items/1?q=2": b"Hello, world!",
    "/closing": b"Hello, world!",
    "/large": b"x" * 100 * 1024,
    "/stream": b"y" * 20 * 1024,
}


def check(running: Running) -> None:
    """Whether the server gives the right answers at all; raises MeasurementFailed if not."""
    for path, body in EXPECTED.items():
        if ask(running.port, path, tls=running.tls)[0] != body:
            raise MeasurementFailed(f"{running.server.name} answers {path} wrongly")
