"""Results in words and tables: what is printed, and ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .chapters import CHAPTERS, WHY
from .results import METRICS, Results, Row

OURS = "tricorn"
LIMIT = "canned"

METHOD = """\
Every server runs the same ASGI application (`benchmarks/apps.py`) on the same machine in the same run. They take turns: in each
round all of them are started afresh, then for every scenario each gets a few turns of a second, one server after the other.
The figures are medians over all turns; in brackets the lowest and highest. Ratios are medians of the ratios of figures taken
right after each other, because a machine's speed changes from minute to minute, a virtual one's more so.

- **CPU, µs per request**: user and system time of *all* processes of the server (supervisor and helpers included), from the
  kernel's per-process CPU clock, over wrk's whole run, divided by the requests that wrk counted. A short warm-up goes before.
- **requests/s, p50, p99**: as wrk saw them, with one thread, as fast as the connections go; so p50 and p99 are those of a
  saturated server and follow its throughput. Scenario `get-1`, one connection, shows the latency of an idle one.
- **CPUs used**: below 1.0 with one worker means that wrk, or something else on the machine, was the limit.
- **CPUs used by others**: by processes that are neither the server nor wrk, or by other guests of the hypervisor. If it is not
  near 0, requests/s, p50 and p99 say little; CPU per request suffers less.
- With one worker the server and wrk are kept on different CPUs (as `taskset` does). With more workers than can be kept apart
  from wrk, the scheduler decides, and wrk takes its share of the same CPUs. A request then costs less CPU than on a CPU of its
  own (waking wrk is cheaper, more requests come per wake-up): compare within a scenario, not across.
- **canned** is no server: it parses nothing, calls no application, and answers prepared bytes on uvloop. It is the limit.
- **PSS** shares each page of memory among the processes that map it; measured after a second of load.
- **context switches** are wake-ups of an idle server; a client has asked once and left.
- **kill -9, SIGHUP**: a client opens four new connections at a time, over and over, and asks who answers. For the kill, until
  the successor answered; for the reload, until as many new workers as there are have answered. `failed` counts its attempts
  that met a refused or reset connection.
- **WebSocket**: the client is `benchmarks/harness/ws_client.py`, a process on the CPU where wrk would be; it sends prepared
  frames and counts the answers without decoding them, one message at a time per connection, after it has compared the first.
  CPU per message counts the messages it received: an echo is a message taken and one sent, a delivery of the broadcast one
  sent. Opening and closing connections is not counted. "CPUs used" well below 1.0 means that the client was the limit. In the
  broadcast the application awaits `send` for one connection after the other. **KiB per connection** is the private memory
  of all processes that 1,000 connections add, each having had one message. **uvicorn** is with `--ws websockets-sansio`.
- **Constant rate**: wrk waits between requests, as wrk2 does; its timers count milliseconds. A request that comes late because
  all connections wait is sent as soon as one is free, and the latencies that the requests behind a slow one would have had are
  added.
- **Idle connections**: a client opens them one after another, each asks once. "KiB per connection" is the private memory of all
  processes that they add.
- **Streams**: the application sends its 20 messages without waiting for anything but `send`. Tricorn makes one chunk of what is
  sent in one turn of the event loop; other servers make one of each message. In scenario `tokens` the application waits for a
  turn of the loop after each message. Each leaves by itself, unless a worker is too busy: then it collects those of 2 ms.
- **tricorn-asyncio-h11** is `--loop asyncio --http h11`: neither uvloop nor httptools.
"""


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown: the first column to the left, all others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(row: Row, server: str, metric: str) -> str:
    """The median, for the scenario's first metric with its spread."""
    digits = METRICS[metric].digits
    median = number(row.median(server, metric), digits)
    if not median or metric != row.metrics[0] or len(row.samples[server]) < 2:
        return median
    low, high = row.spread(server, metric)
    return f"{median} [{number(low, digits)}..{number(high, digits)}]"


def scenario(name: str, row: Row) -> str:
    """One scenario: a line per server, and how its first metric compares with ours."""
    first = row.metrics[0]
    ours = row.median(OURS, first)
    head = ["server", *(METRICS[metric].label for metric in row.metrics), *([f"{OURS} / this"] if ours is not None else [])]
    lines = []
    for server in row.samples:
        cells = [f"**{server}**" if server == OURS else server, *(cell(row, server, metric) for metric in row.metrics)]
        lines.append([*cells, *([number(row.ratio(OURS, server, first), 2)] if ours is not None else [])])
    notes = [f"- {server}: {why}" for server, why in row.failures.items()]
    return "\n".join([f"### {row.title} (`{name}`)", "", table(head, lines), *([""] if notes else []), *notes, ""])


def summary(results: Results) -> str:
    """One line per scenario: the first metric of each server."""
    servers = results.servers()
    lines = []
    for row in results.rows.values():
        metric = METRICS[row.metrics[0]]
        figures = [number(row.median(server, row.metrics[0]), metric.digits) for server in servers]
        lines.append([f"{row.title}: {metric.label}", *figures])
    return table(["", *servers], lines)


def losses(results: Results) -> str:
    """A table of the metrics in which a peer does better than we do, and why, where that is known."""
    found = [
        [*line, WHY.get(name, "")]
        for name, row in results.rows.items()
        for metric in row.metrics
        for line in worse(row, metric)
    ]
    head = ["scenario", "figure", OURS, "the best", "", "by turns", "why"]
    return table(head, found) if found else "Nothing, in this run."


def worse(row: Row, metric: str) -> list[list[str]]:
    """The peer that is best in one metric of one scenario, if it beats us by more than 2 %, which is less than the noise.

    A line of the table, or none.
    """
    lower, ours, digits = METRICS[metric].lower, row.median(OURS, metric), METRICS[metric].digits
    peers = [server for server in row.samples if not server.startswith((OURS, LIMIT))]
    theirs = {server: median for server in peers if (median := row.median(server, metric)) is not None}
    if lower is None or ours is None or not theirs:
        return []
    best = (min if lower else max)(theirs, key=theirs.__getitem__)
    ratio = row.ratio(OURS, best, metric)
    if ratio is None:  # theirs is 0
        ratio = 2.0 if ours else 1.0
    if not (ratio > 1.02 if lower else ratio < 0.98):
        return []
    return [[row.title, METRICS[metric].label, number(ours, digits), number(theirs[best], digits), best, f"{ratio:.2f}"]]


def text(results: Results) -> str:
    """All scenarios, as they are printed at the end of a run."""
    return "\n".join(scenario(name, row) for name, row in results.rows.items())


def chapter(other: Results) -> list[str]:
    """What was measured with another Python, in lines."""
    title = f"## With Python {other.machine['Python']}"
    return ["", title, "", "```", other.command, "```", "", summary(other), "", losses(other), "", text(other)]


def pictures(made: Mapping[str, str]) -> list[str]:
    """The chapters with a picture, in lines."""
    return [
        line
        for chapter in CHAPTERS
        if chapter.name in made
        for line in (f"### {chapter.title}", "", f"![{chapter.title}]({made[chapter.name]})", "", chapter.meaning, "")
    ]


def document(results: Results, made: Mapping[str, str], beside: Results | None = None) -> str:
    """The page ``docs/benchmarks.md``; ``made`` names the pictures beside it, by chapter.

    ``beside``: what was measured with another Python, for a chapter of its own.
    """
    packages = [f"- {name}: {version}" for name, version in results.versions.items()]
    place = [f"- {name}: {value}" for name, value in results.machine.items()]
    return "\n".join(
        [
            *("# Benchmarks", "", "Written by the benchmark itself, in one run of:", "", "```", results.command, "```", ""),
            *("Less is better in all pictures.", "", *pictures(made)),
            *("## Where Tricorn loses", "", "*By turns* is the median of the ratios, turn by turn.", "", losses(results), ""),
            *("## Summary", "", summary(results), ""),
            *("## What was measured, and how", "", METHOD),
            *("Machine:", "", *place, "", "Versions:", "", *packages, "", "## All figures", "", text(results)),
            *(chapter(beside) if beside else []),
        ]
    )
