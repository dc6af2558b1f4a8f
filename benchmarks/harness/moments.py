"""Scenarios without load: starting, being killed, reloading, remembering, and doing nothing."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from . import load, processes
from .load import MeasurementFailed, Sample
from .servers import Running, Server, ask


@dataclass(frozen=True)
class Moment:
    """One thing to measure of a freshly started server, a ``Sample`` at a time."""

    name: str
    title: str
    metrics: tuple[str, ...]
    measure: Callable[[Server, int], Sample | None]
    """Takes the server and the number of workers; None if the server has no such feature."""
    workers: int = 1
    quick: bool = False
    default: bool = True
    """Whether it is measured when nobody says what."""
    kind: str = "http"
    """Which servers take part: those with this word in their ``kinds``."""


def start_up(server: Server, workers: int) -> Sample:
    """Milliseconds from executing the command to the first byte-complete answer to a client that never stops asking."""
    with Running(server, workers, wait=False, pinned=False) as running:
        running.first_answer()
        return {"start_ms": (time.monotonic() - running.started) * 1e3}


def memory(server: Server, workers: int) -> Sample:
    """MiB after half a second of load; other Python processes on the machine share pages and so lower ``pss`` a little."""
    with Running(server, workers, pinned=False) as running:
        load.wrk(load.Load("warm", "", connections=64), running.port, 1, None)
        sizes = {pid: processes.memory(pid) for pid in running.tree()}
        serving = [sizes[pid].pss for pid in running.alive_workers()]
        return {
            "pss_mib": sum(size.pss for size in sizes.values()) / 2**20,
            "private_mib": sum(size.private for size in sizes.values()) / 2**20,
            "worker_mib": statistics.mean(serving) / 2**20,
            "processes": len(sizes),
        }


def idle(server: Server, workers: int, settle: float = 1.5, seconds: float = 5) -> Sample:
    """Context switches and CPU time a second, of a server that was started, answered a request and is left alone."""
    with Running(server, workers, pinned=False) as running:
        time.sleep(settle)
        pids = running.tree()
        before = {pid: processes.switches(pid) for pid in pids}
        spent = processes.cpu_of(pids)
        time.sleep(seconds)
        wakeups = {pid: (processes.switches(pid) - before[pid]) / seconds for pid in pids}
        serving = running.alive_workers()
        return {
            "wakeups": sum(wakeups.values()),
            "worker_wakeups": statistics.mean(wakeups[pid] for pid in serving),
            "other_wakeups": sum(count for pid, count in wakeups.items() if pid not in serving),
            "idle_ms": (processes.cpu_of(pids) - spent) / seconds * 1e3,
        }


@dataclass
class Watch:
    """What a client saw that kept opening connections: who answered, and how many requests failed."""

    seen: dict[int, float]
    failed: int = 0
    asked: int = 0

    def look(self, port: int) -> None:
        """Four requests on new connections at once, so that it is not always the same worker that answers."""
        self.asked += 1
        try:
            for body in ask(port, "/pid", count=4, timeout=2):
                self.seen.setdefault(int(body), time.monotonic())
        except OSError:
            self.failed += 1


def replacement(running: Running, old: Collection[int], since: float, wanted: int, timeout: float = 10) -> Sample:
    """Asks until ``wanted`` workers that are not ``old`` have both started up and answered; milliseconds from ``since``.

    ``ready_ms`` is the application's start-up in the last of them, ``answer_ms`` the first answer by the last of them.
    """
    watch = Watch({})
    while time.monotonic() < since + timeout:
        watch.look(running.port)
        ready = {pid: when for pid, when in running.ready_times().items() if pid not in old}
        answered = {pid: when for pid, when in watch.seen.items() if pid not in old}
        if len(answered) >= wanted and len(ready) >= wanted:
            return {
                "ready_ms": (sorted(ready.values())[wanted - 1] - since) * 1e3,
                "answer_ms": (sorted(answered.values())[wanted - 1] - since) * 1e3,
                "failed": watch.failed,
            }
        time.sleep(0.005)
    raise MeasurementFailed(f"{running.server.name}: no {wanted} new workers within {timeout:g} s: {running.last_words()}")


def kill(server: Server, workers: int, settle: float = 2) -> Sample | None:
    """From kill -9 of a worker to its replacement's first answer."""
    if server.name.startswith("canned"):
        return None
    with Running(server, workers, pinned=False) as running:
        time.sleep(settle + random.random())  # not always in the same phase of a supervisor that looks around at intervals
        old = running.alive_workers()
        since = time.monotonic()
        os.kill(old[-1], signal.SIGKILL)
        return replacement(running, old, since, 1)


def hang_up(server: Server, workers: int, settle: float = 1) -> Sample | None:
    """From SIGHUP to all workers replaced, the old ones gone."""
    if not server.hup:
        return None
    with Running(server, workers, pinned=False) as running:
        time.sleep(settle + random.random())  # not always in the same phase of a supervisor that looks around at intervals
        old = set(running.alive_workers())
        since = time.monotonic()
        running.process.send_signal(signal.SIGHUP)
        sample = replacement(running, old, since, workers, timeout=20)
        while old & set(running.tree()) and time.monotonic() < since + 20:
            time.sleep(0.005)
        return {**sample, "gone_ms": (time.monotonic() - since) * 1e3}


START = ("start_ms",)
MEMORY = ("pss_mib", "private_mib", "worker_mib", "processes")
IDLE = ("wakeups", "worker_wakeups", "other_wakeups", "idle_ms")
KILL = ("answer_ms", "ready_ms", "failed")
HANG_UP = ("answer_ms", "gone_ms", "failed")

MOMENTS: tuple[Moment, ...] = (
    Moment("start", "Start-up: command to first answer, 1 worker", START, start_up, quick=True),
    Moment("start-4", "Start-up: command to first answer, 4 workers", START, start_up, workers=4),
    Moment("memory", "Memory, 1 worker", MEMORY, memory),
    Moment("memory-4", "Memory, 4 workers", MEMORY, memory, workers=4, quick=True),
    Moment("idle", "Idle, 1 worker", IDLE, idle),
    Moment("idle-4", "Idle, 4 workers", IDLE, idle, workers=4),
    Moment("kill", "kill -9 of one of 2 workers to its replacement", KILL, kill, workers=2, quick=True),
    Moment("hup", "SIGHUP to 2 of 2 workers replaced", HANG_UP, hang_up, workers=2),
)
