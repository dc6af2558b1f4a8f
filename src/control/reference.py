"""The command line of ``tricornctl`` as data, for its man page and for shells that complete it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ..config.frozen import Value


class Argument(Value):
    """An option or a positional argument."""

    flags: tuple[str, ...]
    """Empty for a positional one."""
    value: str
    """The placeholder of its value; empty if it takes none."""
    choices: tuple[str, ...]
    help: str


class Usage(Value):
    """What a command takes."""

    help: str
    arguments: tuple[Argument, ...]


def usages(parser: argparse.ArgumentParser) -> dict[str, Usage]:
    """The usage of each command; that of the name "" is what may stand before the command."""
    found = {"": Usage(parser.description or "", _arguments(parser))}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            its: Mapping[str, argparse.ArgumentParser] = action.choices
            found |= {name: Usage(one.description or "", _arguments(one)) for name, one in its.items()}
    return found


def _arguments(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    return tuple(
        Argument(tuple(one.option_strings), _value(one), tuple(one.choices or ()), one.help or "")
        for one in parser._actions
        if not isinstance(one, argparse._SubParsersAction)
    )


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return str(action.metavar or action.dest.upper())
