"""``tricornctl doctor``: examines a running server, or the place where one is to run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from typing import Any

from ...config.sources import Sources
from ...errors import ConfigError
from ..asking import DONE, FAILED, printable
from ..connection import Connection, NotThere, TimedOut
from ..find import connect
from .checks import examine
from .collect import collect
from .environment import Finding, read_options

ANSWERING = 5.0
"""Seconds that the supervisor gets to answer; it takes thousandths."""


def run(given: argparse.Namespace) -> int:
    """Examine, and show what is found; returns the exit code. Raises NotThere, Ambiguous."""
    try:
        connection = connect(given.socket, given.pid)
    except NotThere:
        if given.socket is not None or given.pid is not None:
            raise
        findings = examine_here(given.stop_time)
    else:
        try:
            findings = examine_server(connection, given.stop_time)
        finally:
            connection.close()
    told = json.dumps({"findings": [vars(one) for one in findings]}) if given.json else printable(describe(findings))
    print(told, flush=True)
    return FAILED if findings else DONE


def examine_server(connection: Connection, stop_seconds: float | None) -> list[Finding]:
    """Look at a running supervisor and its workers. Raises NotThere."""
    try:
        *_, message = connection.ask("environment", {}, time.monotonic() + ANSWERING)
    except TimedOut:
        raise NotThere(f"the supervisor has not answered for {ANSWERING:g} s") from None
    told: dict[str, Any] = message["answer"]
    if message["code"]:
        raise NotThere(f"the supervisor does not tell its options: {told['error']}")
    known = {"loop": told["event_loop"], "utc_offset": told["utc_offset"], "stop_seconds": stop_seconds}
    return examine(collect(read_options(told["options"]), connection.pid, told["variables"], told["pids"], **known))


def examine_here(stop_seconds: float | None) -> list[Finding]:
    """Look at the settings that a server would find here, and at the system as this process sees it."""
    try:
        config = Sources({}).load().config
    except ConfigError as error:
        why = "a server that is started here does not start"
        return [Finding("settings", str(error), why, "mend it; tricorn --check-config says whether all is well then")]
    options = read_options(vars(config))
    known: dict[str, Any] = {
        "loop": "uvloop" if importlib.util.find_spec("uvloop") is not None else "asyncio",
        "utc_offset": time.localtime().tm_gmtoff,
        "stop_seconds": stop_seconds,
    }
    return examine(collect(options, os.getpid(), os.environ, **known))


def describe(findings: list[Finding]) -> str:
    """The findings in words."""
    if not findings:
        return "Nothing found"
    blocks = (f"{one.check}: {one.problem}\n  why:  {one.why}\n  cure: {one.cure}" for one in findings)
    return "\n\n".join(blocks)
