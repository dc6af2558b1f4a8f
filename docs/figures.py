"""README's figures, from the summary of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path

REPORT = Path(__file__).parent / "benchmarks.md"
SERVERS = ("tricorn", "uvicorn", "gunicorn", "granian")
ROWS = {
    "CPU for a request, in µs": "Bare GET, 64 connections, 1 worker: CPU",
    "The same with an access log": "Bare GET with access log, 64 connections, 1 worker: CPU",
    "CPU for a WebSocket message, in µs": "WebSocket echo of 125 B, 64 connections, 1 worker: CPU",
    "Memory of 4 workers, in MiB": "Memory, 4 workers",
    "A save to the new answer (`--reload`), in ms": "File saved to new answer, an application that imports nothing",
    "`kill -9` of a worker to its replacement, in ms": "kill -9 of one of 2 workers",
}
"""What README says, and the beginning of the report's row."""


def read() -> dict[str, dict[str, str]]:
    """Each server's figure, by the report's row."""
    summary = REPORT.read_text().partition("## Summary")[2].partition("\n## ")[0]
    lines = [line.strip("| ") for line in summary.splitlines() if line.startswith("|")]
    servers = [cell.strip() for cell in lines[0].split("|")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
    return {name: dict(zip(servers, cells, strict=False)) for name, *cells in rows}


def text() -> str:
    """Three figures in a sentence, and the table."""
    report = read()
    found = {name: next(row for full, row in report.items() if full.startswith(begins)) for name, begins in ROWS.items()}
    cpu, _, _, _, save, kill = found.values()
    lines = [
        f"**{cpu['tricorn']} µs** of CPU for a request (uvicorn: {cpu['uvicorn']}) · "
        f"**{save['tricorn']} ms** from a save to the new answer (uvicorn: {save['uvicorn']}) · "
        f"**{kill['tricorn']} ms** from a killed worker to its replacement (uvicorn: {kill['uvicorn']})",
        "",
        f"| | {' | '.join(SERVERS)} |",
        f"|---|{'---:|' * len(SERVERS)}",
        *(f"| {name} | {' | '.join(row[server] for server in SERVERS)} |" for name, row in found.items()),
        "",
        "Less is better. All of it was [measured](docs/benchmarks.md) in one run on one machine; that page shows where Tricorn "
        "loses.",
    ]
    return "\n".join(lines)
