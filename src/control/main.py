"""``tricornctl``: talk to a running supervisor. Exit codes: 0 done, 1 no supervisor, 2 usage, 3 carried out and failed."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from ..version import __version__
from .asking import FAILED, NOBODY, USAGE, Unusable, fail
from .commands import COMMANDS
from .connection import NotThere, TimedOut
from .find import Ambiguous

COMPLETE = "_TRICORNCTL_COMPLETE"
"""If this variable is set, print a script for the shell that it names, as click's commands do."""
INTERRUPTED = 130
"""The exit code by which shells report Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    if (shell := os.environ.get(COMPLETE)) is not None:
        return complete(shell)
    # With set_defaults, a command's default would undo what stands before the command: the parsers share their options.
    given = build_parser().parse_args(arguments, argparse.Namespace(socket=None, pid=None, json=False))
    try:
        return COMMANDS[given.command].run(given)
    except (Unusable, Ambiguous) as error:
        return fail(given, USAGE, str(error))
    except NotThere as error:
        return fail(given, NOBODY, str(error))
    except TimedOut:
        return fail(given, FAILED, f"not done within {given.timeout:g} s; it goes on")
    except KeyboardInterrupt:
        # What was ordered goes on.
        return INTERRUPTED
    except OSError as error:
        # What is left in the buffer would be tried again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            # The program that reads our output has ended, as head and less do.
            return NOBODY
        return fail(given, NOBODY, f"can't write: {error.strerror}")


def complete(shell: str) -> int:
    """Print what lets ``shell`` complete the command; returns the exit code."""
    # Late, because it is needed once for a shell.
    from .completion import SHELLS, script

    if shell not in SHELLS:
        print(f"tricornctl: {COMPLETE}={shell}: must be one of {', '.join(SHELLS)}", file=sys.stderr)
        return USAGE
    print(script(shell, build_parser()))
    return 0


def build_parser() -> Parser:
    """The command line."""
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    which = common.add_mutually_exclusive_group()
    which.add_argument("--socket", metavar="PATH|@tricorn/PID", help="the supervisor's control socket")
    which.add_argument("--pid", type=int, metavar="PID", help="the supervisor's process id")
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object and nothing else")
    parser = Parser(
        prog="tricornctl",
        description="Talk to a running Tricorn; by default to the only one of this user.",
        epilog="Exit codes: 0 done; 1 nobody to talk to, or it went away; 2 usage; 3 carried out and failed.",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"tricornctl, from Tricorn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        its = commands.add_parser(name, help=command.help, description=command.help, parents=[common])
        command.add_arguments(its)
    return parser
