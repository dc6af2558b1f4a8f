"""Guesses which application the operator meant, when the one that was named does not exist."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Sequence

from ..config.app_name import USUAL, names_in


def module(name: str, directory: str, usual: Sequence[str] = USUAL) -> str:
    """The end of an error's sentence, which suggests the application in ``directory`` with the most similar module name.

    ``name`` is what the operator gave, ``module:attribute``. ``usual`` are likely attributes, if no similar one is found. The
    result is empty if there is nothing to suggest.
    """
    wanted, _, path = name.partition(":")
    package, _, last = wanted.rpartition(".")
    place = os.path.join(directory, *package.split(".")) if package else directory
    names = list(_modules_in(place))
    close = _closest(last, names)
    if not close:
        return ""
    found = f"{package}.{close}" if package else close
    attribute = _choose(path, _assigned(place, close), usual) or path
    return f"; did you mean {found}:{attribute}?" if attribute else f"; did you mean {found}?"


def attribute(name: str, usual: Sequence[str] = USUAL) -> str:
    """The same for an attribute of a module that is imported."""
    wanted, _, path = name.partition(":")
    loaded = sys.modules.get(wanted)
    callables = {key: value for key, value in vars(loaded).items() if callable(value) and key != path} if loaded else {}
    close = _choose(path, list(callables), usual)
    if not close and not path:
        objects = [key for key, value in callables.items() if not inspect.isroutine(value) and not inspect.isclass(value)]
        close = objects[0] if len(objects) == 1 else ""
    return f"; did you mean {wanted}:{close}?" if close else ""


def _choose(wanted: str, names: list[str], usual: Sequence[str]) -> str:
    """The name among ``names`` that is meant: the wanted one, a similar one, or a usual one. Empty if there is none."""
    if wanted in names:
        return wanted
    return _closest(wanted, names) or next((one for one in usual if one in names), "")


def _modules_in(directory: str) -> Iterator[str]:
    try:
        entries = sorted(os.listdir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.endswith(".py"):
            yield entry.removesuffix(".py")
        elif os.path.exists(os.path.join(directory, entry, "__init__.py")):
            yield entry


def _assigned(directory: str, module: str) -> list[str]:
    file = os.path.join(directory, f"{module}.py")
    return names_in(file if os.path.exists(file) else os.path.join(directory, module, "__init__.py"))


def _closest(wanted: str, names: list[str]) -> str:
    try:
        # Late, because only a mistake needs it.
        import difflib
    except ImportError:
        # This user may not read Python's own modules. The mistake itself is told all the same.
        return ""
    return next(iter(difflib.get_close_matches(wanted, names, 1)), "")
