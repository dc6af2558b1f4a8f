"""Answers in words, for people at a terminal of 80 columns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Answer = dict[str, Any]

MIB = 1024 * 1024


def status(answer: Answer) -> str:
    """The fleet in some lines, then a line for each worker, then why workers died."""
    fleet, workers = answer["supervisor"], answer["workers"]
    lines = [
        f"{fleet['app']} on {', '.join(fleet['listeners'])}",
        f"Tricorn {fleet['version']}, supervisor {fleet['pid']}, up {duration(fleet['uptime'])}, {fleet['stage']}",
        f"{fleet['ready']} of {fleet['wanted']} workers ready, generation {fleet['generation']}",
    ]
    if (last := fleet["last_reload"]) is not None:
        lines.append(f"Last reload: {last['result']} ({duration(last['seconds'])}, generation {last['generation']})")
        if last["error"]:
            lines.append(f"  {last_line(last['error'])}")
    lines += [_template(template) for template in answer.get("templates", ()) if template["phase"] != "killed"]
    head = ("SLOT", "PID", "GEN", "PHASE", "AGE", "REQUESTS", "REQ/S", "ACTIVE", "CONNS", "LAG", "CPU", "MEM", "DIED")
    lines += ["", *table([head, *map(_row, workers)])]
    lines += [blocked(worker) for worker in workers if worker["blocked"] is not None]
    died = {worker["slot"]: worker["last_death"] for worker in workers if worker["last_death"]}
    lines += [f"Slot {slot}, the last to die: {why}" for slot, why in died.items()]
    return "\n".join(lines)


def _template(template: dict[str, Any]) -> str:
    rss, shared = template["rss_bytes"], "the application" if template["shares"] == "app" else "installed packages"
    what = f"workers share {shared}" if template["phase"] == "ready" else template["phase"]
    memory = f", {rss / MIB:.0f}M" if rss is not None else ""
    return f"Template {_known(template['pid'])}, generation {template['generation']}: {what}{memory}"


def blocked(worker: dict[str, Any]) -> str:
    """What keeps a worker's event loop from turning."""
    what = worker["blocked"]
    request = f": {what['request']}" if what["request"] else ""
    line = f", at {what['line']}" if what["line"] else ""
    return f"Worker {worker['slot']} [{worker['pid']}] has not turned for {duration(what['seconds'])}{request}{line}"


def _row(worker: dict[str, Any]) -> tuple[str, ...]:
    age = worker["age"] or 0.001
    requests, cpu, rss = worker["requests"], worker["cpu_seconds"], worker["rss_bytes"]
    return (
        str(worker["slot"]),
        _known(worker["pid"]),
        str(worker["generation"]),
        worker["phase"],
        duration(worker["age"]),
        _known(requests),
        "-" if requests is None else f"{requests / age:.1f}" if requests / age < 1000 else f"{requests / age:.0f}",
        _known(worker["in_flight"]),
        _known(worker["connections"]),
        "-" if worker["lag"] is None else f"{worker['lag']:.1f}s" if worker["lag"] >= 0.05 else "0",
        "-" if cpu is None else f"{100 * cpu / age:.0f}%",
        "-" if rss is None else f"{rss / MIB:.0f}M",
        str(worker["restarts"]),
    )


def _known(value: Any) -> str:
    return "-" if value is None else str(value)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines with aligned columns: numbers to the right, words to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    left = [column for column in range(len(widths)) if any(row[column].isalpha() for row in rows[1:])]
    return [
        " ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def duration(seconds: float) -> str:
    """``0.4s``, ``12s``, ``3m20s``, ``5h07m``, ``12d3h``."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86400}d{whole // 3600 % 24}h"


def last_line(text: str) -> str:
    """The last line of an error: of a traceback, the one that says what is wrong."""
    return text.strip().rpartition("\n")[2]


def health(answer: Answer) -> str:
    """How many workers are ready."""
    return f"{answer['ready']} ready"


def reloaded(answer: Answer) -> str:
    """A reload that is complete."""
    return f"Reload complete in {answer['seconds']:.1f} s (generation {answer['generation']})"


def upgraded(answer: Answer) -> str:
    """An upgrade that is complete; if a reload followed, how that went."""
    return f"Tricorn {answer['tricorn']} has taken over from {answer['before']}" if "before" in answer else reloaded(answer)


def resized(answer: Answer) -> str:
    """A size that is reached."""
    return f"{answer['ready']} of {answer['wanted']} workers ready"


def progress(told: dict[str, Any]) -> str:
    """How far a reload or a resize is."""
    if "canary" in told:
        return str(told["canary"])
    return f"{told['ready']} of {told['wanted']} ready"


def stopping(told: dict[str, Any]) -> str:
    """How far a stop is."""
    return f"{told['workers']} {'worker' if told['workers'] == 1 else 'workers'} left"
