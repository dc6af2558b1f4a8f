"""Reads the file of settings: TOML, one key for each option, named as the option is.

In ``pyproject.toml`` the settings are the table ``[tool.tricorn]``; every other file is settings from its top.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from . import options as config

PROJECT = "pyproject.toml"
NOT_IN_FILE = ("config",)
"""Options that name the file itself."""


def find(named: str | None, home: str) -> str | None:
    """The path, seen from the directory ``home``, of the file to read: ``named``, or the project's file if that exists."""
    return named if named is not None else PROJECT if os.path.exists(os.path.join(home, PROJECT)) else None


def read(path: str, home: str) -> dict[str, Any]:
    """What the file sets, by option, as Config holds it. Raises ConfigError naming file, key and value."""
    try:
        with open(os.path.join(home, path), encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: {getattr(error, 'strerror', None) or error}") from None
    project = os.path.basename(path) == PROJECT
    if project and "tricorn" not in text:
        # It is read at every start; parsing it would take as long as all the rest of reading settings.
        return {}
    import tomllib

    try:
        table: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--config {path}: not TOML: {error}") from None
    where = path
    if project:
        table, where = table.get("tool", {}).get("tricorn", {}), f"{path} [tool.tricorn]"
    return {name_of(key, value, where): value_of(key, value, where) for key, value in table.items()}


def name_of(key: str, value: Any, where: str) -> str:
    """The option that ``key`` names, written with dashes or underscores. Raises ConfigError if there is none."""
    name = key.replace("-", "_")
    if name in config.OPTIONS and name not in NOT_IN_FILE:
        return name
    import difflib

    known: Mapping[str, Any] = {name: None for name in config.OPTIONS if name not in NOT_IN_FILE}
    close = difflib.get_close_matches(name, known, 1)
    raise ConfigError(f"{where}: {key} = {value!r}: no such option{f'; is it {close[0]}?' if close else ''}")


def value_of(key: str, value: Any, where: str) -> Any:
    """The value as Config holds it. Raises ConfigError when it has the wrong type or breaks its option's constraint."""
    name = key.replace("-", "_")
    known = config.OPTIONS[name]
    try:
        held = value
        if config.is_repeatable(name):
            held = tuple(value) if isinstance(value, list) else (value,)
        elif known.parse is not None and isinstance(value, str):
            held = config.convert(name, value)
        if held not in list(known.inapplicable):
            config.check(name, held)
    except ConfigError as error:
        raise ConfigError(f"{where}: {key} = {value!r}: {str(error).rpartition(': ')[2]}") from None
    return held
