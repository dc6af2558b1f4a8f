"""Guesses which application the operator meant, when the one that was named does not exist."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence

USUAL = ("app", "application", "api", "asgi", "create_app", "make_app")
"""Usual names of applications, and of functions that make them."""


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
    callables = [key for key, value in vars(loaded).items() if callable(value) and key != path] if loaded else []
    close = _choose(path, callables, usual)
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
    """The names that a module's source sets at its top level; the module is not run."""
    file = os.path.join(directory, f"{module}.py")
    try:
        with open(file if os.path.exists(file) else os.path.join(directory, module, "__init__.py"), "rb") as source:
            tree = ast.parse(source.read())
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
    # Late, because only a mistake needs it.
    import difflib

    return next(iter(difflib.get_close_matches(wanted, names, 1)), "")
