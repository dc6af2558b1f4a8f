"""``tricornctl requests`` and ``stacks``: answers in words. Pure."""

from __future__ import annotations

from typing import Any

from .show import duration, table

ANSWERED_BY = {
    "loop": "its event loop turns",
    "signal": "its event loop does not turn",
    "nobody": "it does not answer",
}
"""How a worker has told what it is doing."""


def requests(answer: dict[str, Any]) -> str:
    """A line for each request, the oldest first, then where blocked workers are."""
    found = answer["requests"]
    rows = [(str(one["slot"]), duration(one["age"]), one["method"], one["client"], one["path"]) for one in found]
    lines = table([("SLOT", "AGE", "METHOD", "CLIENT", "PATH"), *rows]) if rows else ["No requests in flight"]
    for one in answer["blocked"]:
        where = f": {one['line']}" if one["line"] else ""
        lines.append(f"Worker {one['slot']} [{one['pid']}]: its event loop does not turn{where}")
    return "\n".join(lines)


def stacks(answer: dict[str, Any]) -> str:
    """A heading and a text for each worker."""
    if not answer["workers"]:
        return "No worker is there"
    return "\n\n".join(
        f"Worker {one['slot']} [{one['pid']}]: {ANSWERED_BY.get(one['answered_by'], one['answered_by'])}\n{one['stacks']}"
        for one in answer["workers"]
    )
