"""Reads plain command lines without click: options by their full names, each with a valid value, and APP.

It declines every other line (help, mistakes, completion), and click reads that. A line that it accepts must mean the same to
click; declining is always right. Importing click and describing every option to it takes a quarter of the time that a start
may take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..config.options import OPTIONS
from ..errors import ConfigError

APP = OPTIONS["app"].flag


def read(words: Sequence[str]) -> dict[str, Any] | None:
    """The values that the command line ``words`` sets, by option; None if the line is not plain."""
    flags = known_flags()
    given: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        flag, equals, text = word.partition("=") if word.startswith("-") else (APP, "=", word)
        name, value = flags.get(flag, ("", None))
        if not name or (name == "app" and name in given):
            return None
        if value is None:
            text = text if equals else next(rest, "")
            if not text or text.startswith("-"):
                return None
            try:
                value = OPTIONS[name].read(text)
            except ConfigError:
                return None
        elif equals:
            return None
        given[name] = (*given.get(name, ()), value) if OPTIONS[name].is_repeatable else value
    return given


def known_flags() -> dict[str, tuple[str, bool | None]]:
    """The option that each flag sets, and the value; None if the next word is the value."""
    flags: dict[str, tuple[str, bool | None]] = {}
    for name, known in OPTIONS.items():
        flags[known.flag] = (name, True if known.is_switch else None)
        if known.is_switch and known.negative_flag is not None:
            flags[known.negative_flag] = (name, False)
    return flags
