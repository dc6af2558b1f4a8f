"""The run: who is measured in what, in turns, and what becomes of the figures."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import environment, load, plot, report
from .connections import HELD
from .http2 import HTTP2_LOADS
from .load import LOADS, Load, MeasurementFailed, Sample
from .moments import MOMENTS, Moment
from .results import Results, Row
from .saves import SAVES
from .servers import SERVERS, TABLE, Running, Server, StartFailed
from .sharing import SHARING
from .websocket import SOCKET_LOADS, SOCKET_MOMENTS

SCENARIOS: dict[str, Load | Moment] = {
    scenario.name: scenario
    for scenario in (*LOADS, *HTTP2_LOADS, *SOCKET_LOADS, *MOMENTS, *SOCKET_MOMENTS, *HELD, *SAVES, *SHARING)
}


@dataclass(frozen=True)
class Plan:
    """What to measure: ``rounds`` starts of each server, with ``turns`` turns of ``seconds`` for each load."""

    loads: Sequence[Load]
    moments: Sequence[Moment]
    servers: Sequence[Server]
    rounds: int
    turns: int
    seconds: int


def plan(options: argparse.Namespace) -> Plan:
    """From the command line; raises KeyError with ``"scenario NAME"`` or ``"server NAME"``."""
    names = (
        options.only.split(",")
        if options.only
        else [n for n, s in SCENARIOS.items() if (s.quick if options.quick else s.default)]
    )
    wanted = options.servers.split(",") if options.servers else [s.name for s in TABLE if s.default]
    for kind, given, known in (("scenario", names, SCENARIOS), ("server", wanted, SERVERS)):
        for name in given:
            if name not in known:
                raise KeyError(f"{kind} {name}")
    chosen = [SCENARIOS[name] for name in names]
    loads = [with_workers(one, options.workers) for one in chosen if isinstance(one, Load)]
    moments = [one for one in chosen if isinstance(one, Moment)]
    return Plan(loads, moments, [SERVERS[name] for name in wanted], options.rounds, options.turns, options.seconds)


def with_workers(scenario: Load, workers: int) -> Load:
    """Puts the number of workers asked for in the place of 0."""
    title = scenario.title.format(workers=workers)
    return replace(scenario, title=title, workers=scenario.workers or workers)


def print_names() -> None:
    print("Scenarios:", *(f"  {name:12} {scenario.title}" for name, scenario in SCENARIOS.items()), sep="\n")
    print("Servers:", *(f"{'*' if s.default else ' '} {s.name:26} {s.command}" for s in TABLE), sep="\n")
    print("* measured by default")


def measure(plan: Plan, command: str) -> Results:
    """Everything planned, round by round."""
    versions = {server.package: environment.version(server.package) for server in plan.servers}
    versions |= {name: environment.version(name) for name in ("uvloop", "httptools", "h11")}
    found = Results(environment.machine(), versions, command)
    found.rows = {one.name: Row(one.title, list(one.metrics)) for one in (*plan.loads, *plan.moments)}
    started = time.monotonic()
    for number in range(plan.rounds):
        turns = rotated(plan.servers, number)
        for _, loads in itertools.groupby(sorted(plan.loads, key=group), key=group):
            load_round(found, plan, list(loads), turns, number * plan.turns)
        for moment in plan.moments:
            for server in turns:
                moment_turn(found.rows[moment.name], moment, server, number)
        print(f"round {number + 1} of {plan.rounds}, {time.monotonic() - started:.0f} s", flush=True)
    for row in found.rows.values():
        row.samples = {server.name: row.samples[server.name] for server in plan.servers if server.name in row.samples}
    return found


def rotated(servers: Sequence[Server], number: int) -> list[Server]:
    """Another one begins in each round, so that none always follows the same."""
    first = number % len(servers)
    return [*servers[first:], *servers[:first]]


def group(scenario: Load) -> tuple[str, int, bool, bool]:
    """Scenarios of the same kind, number of workers, logging and encryption are measured on the same processes."""
    return scenario.kind, scenario.workers, scenario.access_log, scenario.tls


@contextlib.contextmanager
def all_running(found: Results, loads: Sequence[Load], servers: Sequence[Server]) -> Iterator[list[Running]]:
    """Every server that starts and answers correctly; what happened to the others goes to the rows' failures."""
    kind, workers, access_log, tls = group(loads[0])
    with contextlib.ExitStack() as stack:
        alive = []
        for server in servers:
            if kind not in server.kinds or (access_log and server.name.startswith(report.LIMIT)) or (tls and not server.tls):
                continue
            try:
                running = stack.enter_context(Running(server, workers, access_log=access_log, tls=tls))
                load.check(running)
                alive.append(running)
            except (StartFailed, MeasurementFailed, OSError) as error:
                for one in loads:
                    fail(found.rows[one.name], server, error)
        yield alive


def load_round(found: Results, plan: Plan, loads: Sequence[Load], servers: Sequence[Server], first: int) -> None:
    """``plan.turns`` turns for each server in each of ``loads``, numbered from ``first``, while the others stand idle."""
    with all_running(found, loads, servers) as alive:
        for one in loads:
            row = found.rows[one.name]
            for running in alive:
                attempt(row, running.server, functools.partial(one.warm_up, running))
            for turn in range(first, first + plan.turns):
                for running in alive:
                    if running.server.name not in row.failures:
                        sample = attempt(row, running.server, functools.partial(one.measure, running, plan.seconds))
                        if sample:
                            row.add(running.server.name, turn, sample)


def moment_turn(row: Row, moment: Moment, server: Server, turn: int) -> None:
    """One turn for one server; one that failed gets no second."""
    if moment.kind in server.kinds and server.name not in row.failures:
        sample = attempt(row, server, functools.partial(moment.measure, server, moment.workers))
        if sample:
            row.add(server.name, turn, sample)


def attempt(row: Row, server: Server, measure: Callable[[], Sample | None]) -> Sample | None:
    """What it returns, or None with a line in the row's failures."""
    try:
        return measure()
    except (MeasurementFailed, StartFailed, OSError) as error:
        fail(row, server, error)
        return None


def fail(row: Row, server: Server, error: Exception) -> None:
    row.failures[server.name] = str(error)
    print(f"  {row.title}: {server.name}: {error}", flush=True)


def publish(found: Results, folder: Path | None, beside: Results | None = None) -> None:
    """Prints the tables, and makes the page and its pictures in ``folder``, if given; ``beside``: with another Python."""
    print(report.text(found))
    if folder:
        folder.mkdir(exist_ok=True)
        (folder / "benchmarks.md").write_text(report.document(found, plot.draw(found, folder), beside))
        print(f"written: {folder / 'benchmarks.md'}")
