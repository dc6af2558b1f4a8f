"""Reads the file of settings: TOML, with one key for each option, which has the option's name.

In ``pyproject.toml`` the settings are the table ``[tool.tricorn]``; in other files they stand at the top level.
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import ConfigError
from . import text_file
from .options import OPTIONS

PROJECT = "pyproject.toml"


def find(named: str | None, home: str) -> str | None:
    """The file to read, relative to the directory ``home``: ``named``, or pyproject.toml if that exists."""
    return named if named is not None else PROJECT if os.path.exists(os.path.join(home, PROJECT)) else None


def read(path: str, home: str) -> dict[str, Any]:
    """The values that the file sets, by option, in Config's types. Raises ConfigError that names file, key and value."""
    try:
        text = text_file.read(os.path.join(home, path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: {getattr(error, 'strerror', None) or error}") from None
    project = os.path.basename(path) == PROJECT
    if project and "tricorn" not in text:
        # Parsing takes as long as all other reading of settings, and every start comes here.
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
    """The option that ``key``, with dashes or underscores, names. Raises ConfigError if there is none."""
    name = key.replace("-", "_")
    known = [name for name, option in OPTIONS.items() if option.in_file]
    if name in known:
        return name
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    raise ConfigError(f"{where}: {key} = {value!r}: no such option{f'; is it {close[0]}?' if close else ''}")


def value_of(key: str, value: Any, where: str) -> Any:
    """The value in Config's type. Raises ConfigError if the type is wrong or the option does not allow the value."""
    known = OPTIONS[key.replace("-", "_")]
    try:
        held = value
        if known.is_repeatable:
            held = tuple(value) if isinstance(value, list) else (value,)
        elif isinstance(value, str) and (known.parse or known.unit or known.choices):
            held = known.convert(value)
        if not known.is_inapplicable(held):
            known.check(held)
    except ConfigError as error:
        raise ConfigError(f"{where}: {key} = {value!r}: {str(error).rpartition(': ')[2]}") from None
    return held
