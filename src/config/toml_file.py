"""Reads the file of settings: TOML, one key for each option, named as the option is.

In ``pyproject.toml`` the settings are the table ``[tool.tricorn]``; every other file is settings from its top.
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import ConfigError
from .options import OPTIONS

PROJECT = "pyproject.toml"


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
    known = [name for name, option in OPTIONS.items() if option.in_file]
    if name in known:
        return name
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    raise ConfigError(f"{where}: {key} = {value!r}: no such option{f'; is it {close[0]}?' if close else ''}")


def value_of(key: str, value: Any, where: str) -> Any:
    """The value as Config holds it. Raises ConfigError when it has the wrong type or breaks its option's constraint."""
    known = OPTIONS[key.replace("-", "_")]
    try:
        held = value
        if known.is_repeatable:
            held = tuple(value) if isinstance(value, list) else (value,)
        elif known.parse is not None and isinstance(value, str):
            held = known.convert(value)
        if not known.is_inapplicable(held):
            known.check(held)
    except ConfigError as error:
        raise ConfigError(f"{where}: {key} = {value!r}: {str(error).rpartition(': ')[2]}") from None
    return held
