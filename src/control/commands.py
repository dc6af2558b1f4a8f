"""The table of what ``tricornctl`` can do. To add a command, add a row to COMMANDS: an :class:`Ask`, or any other Command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from . import inspection, show
from .asking import Arguments, Ask, Command, Unusable, seconds


def _size(given: argparse.Namespace) -> Arguments:
    text: str = given.size
    digits = text.removeprefix("+").removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise Unusable(f"resize {text}: must be N, +N or -N")
    if text[0] in "+-":
        return {"by": int(text)}
    if int(text) < 1:
        raise Unusable(f"resize {text}: there must be at least one worker")
    return {"to": int(text)}


def _slot(given: argparse.Namespace) -> Arguments:
    text: str = given.slot
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Unusable(f"{given.command} {text}: must be the number of a slot")
    return {"slot": int(text)}


def _level(given: argparse.Namespace) -> Arguments:
    return {"level": given.level}


class Run:
    """A command that is a function."""

    def __init__(
        self,
        help: str,
        function: Callable[[argparse.Namespace], int],
        add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    ) -> None:
        """``function`` returns the exit code."""
        self.help = help
        self._function = function
        self._add_arguments = add_arguments

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line takes."""
        if self._add_arguments is not None:
            self._add_arguments(parser)

    def run(self, given: argparse.Namespace) -> int:
        """Call the function; raises what it raises."""
        return self._function(given)


# Imported late, because all other commands do without: that halves their start.


def _metrics(answer: dict[str, Any]) -> str:
    from .metrics import render

    return render(answer)


def _top(given: argparse.Namespace) -> int:
    from .top.program import run

    return run(given)


def _doctor(given: argparse.Namespace) -> int:
    from .doctor.command import run

    return run(given)


def _add_canary(parser: argparse.ArgumentParser) -> None:
    share = "let so many workers serve the new code first, beside the old ones; 0 for none"
    _add(parser, "--canary", type=_share, metavar="N|N%", help=share)
    _add(parser, "--for", dest="seconds", type=seconds, metavar="SECONDS", help="how long the canaries serve at least")
    _add(parser, "--max-errors", type=_percent, metavar="PERCENT", help="5xx responses allowed above the others' share")
    _add(parser, "--max-latency", type=_ratio, metavar="RATIO", help="times the others' 95th percentile that is allowed")


def _share(text: str) -> str:
    from ..config.validators import wrong_share

    if why := wrong_share(text):
        raise argparse.ArgumentTypeError(f"{text}: {why}")
    return text


def _percent(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or float(text) > 100:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 0 to 100")
    return float(text)


def _ratio(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of at least 1")
    return float(text)


def _canary(given: argparse.Namespace) -> Arguments:
    found = {name: getattr(given, name) for name in ("canary", "seconds", "max_errors", "max_latency")}
    if given.canary is not None:
        # It bounds how long the canaries are tried, and not how long we wait: they are rolled back then, and say so.
        found["canary_timeout"], given.timeout = given.timeout, None
    return {name: value for name, value in found.items() if value is not None}


LEVELS = ("critical", "error", "warning", "info", "debug", "trace")

COMMANDS: Mapping[str, Command] = {
    "status": Ask("Show the fleet and its workers.", shown=show.status),
    "top": Run("Watch the fleet live, a line for each worker; Enter shows a worker's requests and stacks.", _top),
    "requests": Ask("List the requests in flight, the oldest first.", shown=inspection.requests),
    "stacks": Ask(
        "Show what the workers, or those of one slot, are doing: threads and asyncio tasks.",
        add_arguments=lambda parser: _add(parser, "slot", nargs="?", metavar="SLOT"),
        arguments=lambda given: _slot(given) if given.slot is not None else {},
        shown=inspection.stacks,
    ),
    "health": Ask("Succeed if at least --ready-min workers are ready.", shown=show.health),
    "metrics": Ask("Show what /metrics says, in the format of Prometheus.", shown=_metrics),
    "reload": Ask(
        "Replace all workers by new ones with the code and settings that are there now; wait until those answer.",
        add_arguments=_add_canary,
        arguments=_canary,
        shown=show.reloaded,
        lasts=True,
    ),
    "resize": Ask(
        "Change the number of workers to N, or by +N or -N.",
        add_arguments=lambda parser: _add(parser, "size", metavar="N|+N|-N"),
        arguments=_size,
        shown=show.resized,
        lasts=True,
    ),
    "restart": Ask(
        "Replace the worker of one slot; its successor is ready before it leaves.",
        add_arguments=lambda parser: _add(parser, "slot", metavar="SLOT"),
        arguments=_slot,
        shown=lambda answer: f"Slot {answer['slot']} has a new worker",
        lasts=True,
    ),
    "upgrade": Ask(
        "Replace the supervisor by the Tricorn and the Python that are installed now; workers and connections stay.",
        add_arguments=lambda parser: _add(
            parser, "--reload", action="store_true", help="then replace all workers as well, as the command reload does"
        ),
        arguments=lambda given: {"reload": True} if given.reload else {},
        shown=show.upgraded,
        lasts=True,
        is_quiet=lambda given: not given.reload,
    ),
    "stop": Ask(
        "Finish what is in flight and end the server.",
        add_arguments=lambda parser: _add(parser, "--now", action="store_true", help="do not wait for requests in flight"),
        arguments=lambda given: {"now": True} if given.now else {},
        shown=lambda answer: f"Stopped, exit code {answer['exit_code']}",
        lasts=True,
        ends=True,
    ),
    "reopen-logs": Ask("Open log files again, after they were moved away.", shown=lambda answer: "Log files are open again"),
    "doctor": Run(
        "Say what will hurt in production and how to cure it, with or without a running server.",
        _doctor,
        add_arguments=lambda parser: _add(
            parser,
            "--stop-time",
            type=seconds,
            metavar="SECONDS",
            help="seconds from SIGTERM to SIGKILL where the server runs; in containers the doctor can't see them",
        ),
    ),
    "log-level": Ask(
        "Log only messages that are at least so severe, from now on.",
        add_arguments=lambda parser: _add(parser, "level", choices=LEVELS, metavar="LEVEL"),
        arguments=_level,
        shown=lambda answer: f"The log's level is {answer['level']}",
    ),
}


def _add(parser: argparse.ArgumentParser, name: str, **details: Any) -> None:
    parser.add_argument(name, **details)
