"""From what an operator types to ``MODULE:ATTRIBUTE``: ``main.py``, ``main``, ``mysite.asgi``, or nothing at all.

Only names of files and their source are looked at. No application is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .frozen import Value

if TYPE_CHECKING:
    import ast

ATTRIBUTES = ("app", "application")
"""What an application is called; where both names are there, the first is meant."""
USUAL = (*ATTRIBUTES, "api", "asgi", "create_app", "make_app")
"""Further usual names of applications, and of functions that make them."""
USUAL_FILES = ("main.py", "app.py", "api.py", "asgi.py", "app/main.py", "app/app.py", "app/api.py", "src/main.py", "src/app.py")
"""Where an application usually is, likely places first. Django's ``<project>/asgi.py`` is looked for too."""


class AppName(Value):
    """Which application to import."""

    name: str
    """``MODULE:ATTRIBUTE``; or ``MODULE`` alone, if its source does not tell the attribute. Empty if nothing was found."""
    directory: str
    """The directory to import it from, as for ``--app-dir``."""
    file: str = ""
    """The file in which it was found, if the operator named none."""


def complete(given: str, directory: str, home: str) -> AppName:
    """The application that ``given`` means, which ``directory`` (``--app-dir``) holds, relative to the directory ``home``."""
    place = os.path.join(home, directory)
    module, colon, attribute = given.partition(":")
    if not given:
        return _search(place, directory)
    if _is_path(module):
        module, directory = _module_of(module, directory, place)
        place = os.path.join(home, directory)
    if colon:
        return AppName(f"{module}:{attribute}", directory)
    found = _choose(names_in(file)) if (file := _file_of(module, place)) is not None else ""
    return AppName(f"{module}:{found}" if found else module, directory)


def names_in(file: str) -> list[str]:
    """The names that a module's source sets at its top level, in order. The module is not run; empty if it can't be read."""
    try:
        return _parse(file)
    except (OSError, SyntaxError, ValueError):
        return []


def _parse(file: str) -> list[str]:
    # Late, because most operators name module and attribute.
    import ast

    with open(file, "rb") as source:
        return list(_assigned(ast.parse(source.read()).body))


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    import ast

    for node in body:
        if isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If | ast.Try):
            yield from _assigned([*node.body, *node.orelse])


def _is_path(module: str) -> bool:
    return module.endswith(".py") or os.sep in module


def _module_of(path: str, directory: str, place: str) -> tuple[str, str]:
    """The module of the file ``path``, and the directory to import it from: the one that holds its outermost package."""
    parts = [os.path.basename(path.rstrip(os.sep)).removesuffix(".py")]
    parent = os.path.dirname(path.rstrip(os.sep))
    while os.path.exists(os.path.join(place, parent, "__init__.py")) and os.path.basename(parent):
        parts.insert(0, os.path.basename(parent))
        parent = os.path.dirname(parent)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts), os.path.join(directory, parent) if parent else directory


def _file_of(module: str, place: str) -> str | None:
    """The source of ``module``, if ``place`` holds it."""
    base = os.path.join(place, *module.split("."))
    return next((file for file in (f"{base}.py", os.path.join(base, "__init__.py")) if os.path.isfile(file)), None)


def _choose(names: list[str]) -> str:
    return next((one for one in USUAL if one in names), "")


def _search(place: str, directory: str) -> AppName:
    """The first usual file that has an application; or that is not valid Python, which its import will say."""
    for path in (*USUAL_FILES, *_django_files(place)):
        file = os.path.join(place, path)
        if not os.path.isfile(file):
            continue
        module, where = _module_of(path, directory, place)
        try:
            if attribute := _choose(_parse(file)):
                return AppName(f"{module}:{attribute}", where, path)
        except SyntaxError:
            # To serve another file's application instead would be hard to understand, most of all at a reload.
            return AppName(module, where, path)
        except (OSError, ValueError):
            continue
    return AppName("", directory)


def _django_files(place: str) -> list[str]:
    """``<project>/asgi.py`` of a Django project: beside ``manage.py``."""
    if not os.path.isfile(os.path.join(place, "manage.py")):
        return []
    try:
        entries = sorted(os.listdir(place))
    except OSError:
        return []
    return [f"{entry}/asgi.py" for entry in entries if os.path.isfile(os.path.join(place, entry, "asgi.py"))]
