"""Other people's packages that Tricorn can use: whether they can be imported, and why not."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache

from ..errors import ConfigError


@cache
def problem(module: str) -> str | None:
    """Why ``module`` can't be imported, in one line; None if it can, and then it is. Tried once in a process and its forks."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # Anything: a library of C that is missing, a half-removed package, another version of Python.
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def require(option: str, module: str, install: str = "") -> None:
    """Import ``module``, which ``option`` (with its value) needs; ``install`` is what pip calls it. Raises ConfigError."""
    name = install or module
    if (cause := problem(module)) is None:
        return
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise ConfigError(f"{option}: {name} is not installed (pip install {name})")
    raise ConfigError(f"{option}: {name} is installed, but can't be imported ({cause})")
