"""What an operator may have meant who named an application that is not there."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

USUAL = ("app", "application", "api", "asgi", "create_app", "make_app")
"""What applications, and functions that make them, are called."""


def module(name: str, directory: str, usual: Sequence[str] = USUAL) -> str:
    """The end of a sentence: what is named ``module:attribute`` in ``directory`` and whose module is spelled most like it.

    ``usual`` are names that are likely if none is spelled like it.
    """
    # Late, as difflib below: only a mistake needs it.
    from pathlib import Path

    wanted, _, path = name.partition(":")
    package, _, last = wanted.rpartition(".")
    place = Path(directory, *package.split(".")) if package else Path(directory)
    names = [found.stem for found in place.glob("*.py")] + [found.parent.name for found in place.glob("*/__init__.py")]
    close = _closest(last, names)
    if not close:
        return ""
    found = f"{package}.{close}" if package else close
    attribute = _choose(path, _assigned(place, close), usual) or path
    return f"; did you mean {found}:{attribute}?" if attribute else f"; did you mean {found}?"


def attribute(name: str, usual: Sequence[str] = USUAL) -> str:
    """The same for an attribute of a module that was imported."""
    wanted, _, path = name.partition(":")
    loaded = sys.modules.get(wanted)
    callables = [key for key, value in vars(loaded).items() if callable(value) and key != path] if loaded else []
    close = _choose(path, callables, usual)
    return f"; did you mean {wanted}:{close}?" if close else ""


def _choose(wanted: str, names: list[str], usual: Sequence[str]) -> str:
    """The name that is meant: itself, one spelled like it, or one that applications usually have."""
    if wanted in names:
        return wanted
    return _closest(wanted, names) or next((one for one in usual if one in names), "")


def _assigned(place: Path, module: str) -> list[str]:
    """The names that a module's source sets at its top; the module is not run."""
    file = place / f"{module}.py"
    try:
        tree = ast.parse((file if file.exists() else place / module / "__init__.py").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
    return names


def _closest(wanted: str, names: list[str]) -> str:
    # Late, for it is needed only when something is wrong.
    import difflib

    return next(iter(difflib.get_close_matches(wanted, names, 1)), "")
