"""Who may import whom inside the package, checked on the source alone (``ast``), so that nothing is hidden by when it runs.

Imports in functions count, and so do those behind ``TYPE_CHECKING``: a cycle that only the type checker sees is a cycle.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

PACKAGE = "tricorn"

ROOMS: Mapping[str, frozenset[str]] = {
    "version": frozenset(),
    "errors": frozenset(),
    "hooks": frozenset(),
    "protocols": frozenset(),
    "ipc": frozenset(),
    "config": frozenset(),
    "metrics": frozenset({"ipc"}),
    "control": frozenset({"config", "ipc", "metrics"}),
    "logging": frozenset({"protocols"}),
    "logs": frozenset({"logging", "config", "ipc", "protocols"}),
    "worker": frozenset({"hooks", "logging", "logs", "config", "ipc", "protocols"}),
    "admin": frozenset({"worker", "logs", "config", "ipc", "protocols", "metrics"}),
    "supervisor": frozenset({"hooks", "worker", "logs", "config", "ipc", "metrics", "admin"}),
    "embedding": frozenset({"supervisor", "worker", "logging", "logs", "config", "ipc", "protocols"}),
    "testing": frozenset({"embedding"}),
    "pytest_plugin": frozenset({"testing"}),
    "django": frozenset({"embedding"}),
    "fastapi": frozenset(),
    "cli": frozenset({"embedding", "supervisor", "worker", "logs", "config"}),
    "gunicorn": frozenset({"embedding", "worker", "logs", "config", "protocols"}),
    "compat": frozenset({"embedding", "worker", "config", "protocols"}),
    "": frozenset({"cli", "embedding", "worker", "config", "compat"}),
    "__main__": frozenset({"cli"}),
}
"""Every room, lower ones first, and which others it may import. The package itself (``""``) hands out the public names."""

BASIC = frozenset({"version", "errors", "config.frozen"})
"""What every module may know, for it is as the standard library is."""

DOORS: Mapping[tuple[str, str], frozenset[str]] = {
    ("supervisor", "worker"): frozenset(
        {
            "worker.main",
            "worker.preload",
            "worker.template",
            "worker.forking",
            "worker.hook_runner",
            "worker.immortal",
            "worker.kept",
        }
    ),
    ("supervisor", "logs"): frozenset({"logs.setup"}),
    ("supervisor", "admin"): frozenset({"admin.main"}),
    ("cli", "worker"): frozenset({"worker.main", "worker.interfaces", "worker.hooks", "worker.preload"}),
    ("", "worker"): frozenset({"worker.current"}),
}
"""Where a room may import only some modules of another. The supervisor knows what to run after a fork: as a worker, to fork
workers, to call hooks, to answer operators; and what to import before. Of the logs it opens files and chooses the level."""

PURE = frozenset(
    ["__future__", "collections", "dataclasses", "enum", "functools", "heapq", "itertools", "math", "operator", "typing"],
)
"""All of the standard library that decisions may use: no pid, socket, clock, logger or chance."""

DECISIONS = "supervisor.fleet"
"""Where decisions are taken. What it imports of its own room must be as pure; of other rooms it may know only config."""


OPTIONS = "config.options"

IMPORTERS = frozenset({"import_module", "__import__", "run_module", "run_path", "exec", "eval"})
"""Functions through which code of any name can be run."""


def read_package(root: Path) -> dict[str, str]:
    """The source of every module under ``root``, by its name within the package (the package itself is ``""``)."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imports_of(name: str, source: str, modules: frozenset[str]) -> set[str]:
    """All that the module ``name`` imports.

    The package's own modules come as their names in it with a leading dot, those of others as they are.
    """
    is_package = name == "" or any(other.startswith(f"{name}.") for other in modules)
    home = name.split(".") if name else []
    here = home if is_package else home[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {_own(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                base = _own(node.module or "")
            else:
                above = here[: len(here) - (node.level - 1)]
                base = "." + ".".join([*above, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base != "." else f".{alias.name}"
                found.add(inner if inner[1:] in modules and base.startswith(".") else base)
    return found - {f".{name}"}


def _own(absolute: str) -> str:
    """``tricorn.config`` as ``.config``; the name of another package as it is."""
    if absolute == PACKAGE or absolute.startswith(f"{PACKAGE}."):
        return "." + absolute.removeprefix(PACKAGE).lstrip(".")
    return absolute


def _room(module: str) -> str:
    return module.split(".")[0]


def _forbidden(name: str, target: str) -> str | None:
    """Why the module ``name`` may not import ``target`` (a module of the package), or None if it may."""
    mine, theirs = _room(name), _room(target)
    if target in BASIC or mine == theirs or mine not in ROOMS:
        return None
    if theirs not in ROOMS[mine]:
        return f"{mine} may know {', '.join(sorted(ROOMS[mine])) or 'no other room'}"
    doors = DOORS.get((mine, theirs))
    if doors is not None and target not in doors:
        return f"of {theirs}, {mine} knows only {', '.join(sorted(doors))}"
    return None


def _cycle(graph: Mapping[str, set[str]]) -> list[str] | None:
    """Some cycle of the graph, or None."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return None
        for target in sorted(graph.get(node, ())):
            if found := visit(target, [*path, node]):
                return found
        finished.add(node)
        return None

    for start in sorted(graph):
        if found := visit(start, []):
            return found
    return None


def _impure(graph: Mapping[str, set[str]]) -> list[str]:
    """What the decisions, or a module they rest on, import beside values and pure functions."""
    found, seen, waiting = [], set(), [DECISIONS]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for target in sorted(graph.get(name, ())):
            if target.startswith(".supervisor."):
                waiting += {target[1:]} - seen
            elif target[1:] not in (OPTIONS, "ipc.waits", *BASIC) and target.split(".")[0] not in PURE:
                found.append(f"{name} imports {target.lstrip('.')}: decisions are pure")
    return found


def _imports_by_variable(source: str) -> bool:
    """Whether something is imported whose name does not stand in the source, as an application's does not."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return any(_name_called(call) in IMPORTERS and not _is_literal(call) for call in calls)


def _name_called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _is_literal(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant)


def violations(sources: Mapping[str, str]) -> list[str]:
    """Every breach of the rules in a package given as module name -> source, as lines for a person."""
    modules = frozenset(sources)
    graph = {name: imports_of(name, source, modules) for name, source in sources.items()}
    found = _impure(graph)
    found += [f"{room} is a room without a rule" for room in sorted({_room(name) for name in sources} - ROOMS.keys())]
    for name, targets in graph.items():
        for target in sorted(targets):
            if target.startswith(".") and (why := _forbidden(name, target[1:])):
                found.append(f"{name or PACKAGE} imports {target[1:] or PACKAGE}: {why}")
        if _room(name) == "supervisor" and _imports_by_variable(sources[name]):
            found.append(f"{name} imports what a variable names: the supervisor never imports an application")
    # Nothing imports the package's own __init__, which hands out the public names; a rule says so.
    inner = {
        name: {target[1:] for target in targets if len(target) > 1 and target[0] == "."} for name, targets in graph.items()
    }
    inner.pop("", None)
    if cycle := _cycle(inner):
        found.append(f"cycle: {' -> '.join(cycle)}")
    return found
