"""What a command of ``tricornctl`` is, and the common kind: it asks the supervisor and shows the answer."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..ipc.text import many_lines
from . import show
from .connection import NotThere
from .find import connect

DONE, NOBODY, USAGE, FAILED = 0, 1, 2, 3
"""Exit codes: done; no supervisor answers, or it went away; the command line makes no sense; carried out and failed."""

Arguments = Mapping[str, Any]
"""What goes to the supervisor with the command."""


class Unusable(Exception):
    """The command line makes no sense; the text says why."""


class Command(Protocol):
    """One command. ``given`` has its arguments, and ``json``, ``socket`` and ``pid``."""

    help: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line takes."""

    def run(self, given: argparse.Namespace) -> int:
        """Do it; returns the exit code. Raises Unusable, Ambiguous, NotThere, TimedOut."""


class Ask:
    """A command that asks the supervisor once."""

    def __init__(
        self,
        help: str,
        shown: Callable[[dict[str, Any]], str],
        *,
        add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
        arguments: Callable[[argparse.Namespace], Arguments] | None = None,
        lasts: bool = False,
        ends: bool = False,
        is_quiet: Callable[[argparse.Namespace], bool] = lambda given: False,
    ) -> None:
        """``shown`` puts the answer into words. ``arguments`` makes from the command line what is sent with the command.

        ``is_quiet``: whether how far it is can't be said in numbers of workers.
        A command that ``lasts`` has ``--no-wait`` and ``--timeout``. One that ``ends`` waits until the supervisor has ended.
        """
        self.help = help
        self._shown = shown
        self._add_arguments = add_arguments
        self._arguments = arguments
        self._lasts = lasts
        self._ends = ends
        self._is_quiet = is_quiet

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what the command line takes."""
        if self._add_arguments is not None:
            self._add_arguments(parser)
        if self._lasts:
            parser.add_argument("--no-wait", action="store_true", help="order it, and do not wait until it is done")
            parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="wait no longer than this; then exit with 3")

    def run(self, given: argparse.Namespace) -> int:
        """Ask, and show what is answered."""
        arguments = dict(self._arguments(given) if self._arguments is not None else {})
        timeout = given.timeout if self._lasts else None
        until = None if timeout is None else time.monotonic() + timeout
        has_time = not (self._lasts and given.no_wait)
        connection = connect(given.socket, given.pid)
        shown = ""
        try:
            for message in connection.ask(given.command, arguments if has_time else {**arguments, "wait": False}, until):
                if "progress" in message and not given.json and not self._is_quiet(given):
                    told = (show.stopping if self._ends else show.progress)(message["progress"])
                    if told != shown:
                        print(printable(told), file=sys.stderr, flush=True)
                    shown = told
            if self._ends and has_time:
                connection.wait_for_end(until)
            return self._show(given, int(message["code"]), message["answer"], has_time)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NotThere(f"what listens at {connection.address} can't be understood: {error!r}") from None
        finally:
            connection.close()

    def _show(self, given: argparse.Namespace, code: int, answer: dict[str, Any], is_done: bool) -> int:
        if given.json:
            print(json.dumps(answer), flush=True)
        elif "error" in answer:
            return fail(given, code, answer["error"])
        else:
            print(printable(self._shown(answer)) if is_done else "Ordered", flush=True)
        return code


def seconds(text: str) -> float:
    """A time from the command line. Raises ValueError."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def printable(text: str) -> str:
    """``text`` as a terminal may show it. Root may talk to another user's supervisor, and that may send escape sequences."""
    return many_lines(text, len(text))


def fail(given: argparse.Namespace, code: int, error: str) -> int:
    """Say what went wrong; returns ``code``."""
    if given.json:
        print(json.dumps({"error": error}), flush=True)
    print(f"tricornctl: {printable(error)}", file=sys.stderr)
    return code
