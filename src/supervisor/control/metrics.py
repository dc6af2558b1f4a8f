"""What the fleet's metrics are made of, and the answer to ``tricornctl metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ipc.counts import Counts
from ...ipc.scoreboard import MAX_CONNECTIONS, Field, Row
from ...metrics.gather import Facts, encode
from ..answers import DONE
from ..snapshot import Snapshot
from .request import Request
from .status import PHASES, Supervised, lag


def metrics(request: Request, snapshot: Snapshot, supervised: Supervised, now: float) -> None:
    """Answer with the facts: the client renders them, and measures memory, CPU time and queues, which takes long."""
    processes = supervised.processes
    workers = [worker.id for worker in snapshot.workers]
    rows = [row for worker in workers if (row := processes.row_of(worker)) is not None]
    facts = make_facts(snapshot, rows, processes.counts(), {}, None, None, now)
    pids = [supervised.pid, *(pid for worker in workers if (pid := processes.pid_of(worker)) is not None)]
    request.answer(
        DONE,
        {"facts": encode(facts), "pids": pids, "listeners": [[address.host, address.port] for address in supervised.addresses]},
    )


def make_facts(
    snapshot: Snapshot,
    rows: Iterable[Row],
    counts: Counts,
    queues: Mapping[str, int],
    memory: float | None,
    cpu: float | None,
    now: float,
) -> Facts:
    """The metrics' facts. ``rows``: those of the living workers. Any worker may have written any row."""
    phases: dict[str, int] = {}
    for worker in snapshot.workers:
        phases[PHASES[worker.phase]] = phases.get(PHASES[worker.phase], 0) + 1
    in_flight = connections = websockets = multiplexed = longest = 0.0
    for row in rows:
        open_, busy = _gauge(row[Field.CONNECTIONS]), _gauge(row[Field.IN_FLIGHT])
        sockets, shared = _gauge(row[Field.WEBSOCKETS]), _gauge(row[Field.HTTP2])
        connections += open_
        websockets += min(sockets, open_)
        multiplexed += min(shared, open_)
        # The worker counts a WebSocket as in flight, but it is no request.
        in_flight += max(0.0, busy - sockets)
        longest = max(longest, lag(row, now))
    return Facts(
        counts=counts,
        in_flight=in_flight,
        connections=connections,
        websockets=websockets,
        multiplexed=multiplexed,
        phases=phases,
        wanted=snapshot.wanted,
        exits=dict(snapshot.exits),
        reloads=dict(snapshot.reloads),
        generation=snapshot.settled.generation,
        lag=longest,
        accept_queues=queues,
        memory_bytes=memory,
        cpu_seconds=cpu,
    )


def _gauge(value: float) -> float:
    return value if 0 <= value <= MAX_CONNECTIONS else 0.0
