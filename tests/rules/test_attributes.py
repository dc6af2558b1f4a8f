"""Every attribute is set in ``__init__``, where a reader finds all that an object holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                yield str(path.relative_to(SRC)), node


def own_names(nodes: list[ast.stmt]) -> Iterator[str]:
    """The attributes of ``self`` that ``nodes`` assign."""
    for node in nodes:
        for inner in ast.walk(node):
            if (
                isinstance(inner, ast.Attribute)
                and isinstance(inner.ctx, ast.Store)
                and isinstance(inner.value, ast.Name)
                and inner.value.id == "self"
            ):
                yield inner.attr


def declared(node: ast.ClassDef, known: dict[str, ast.ClassDef]) -> set[str]:
    """What the class and its bases declare: in ``__init__`` with what it calls for that, in the class's body, as a property."""
    names: set[str] = set()
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in known:
            names |= declared(known[base.id], known)
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            names.add(item.target.id)
        elif isinstance(item, ast.Assign):
            names |= {target.id for target in item.targets if isinstance(target, ast.Name)}
    for first in [methods[name] for name in ("__init__", "__post_init__") if name in methods]:
        names |= set(own_names(first.body))
        for call in ast.walk(first):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in methods:
                names |= set(own_names(methods[call.func.attr].body))
    return names | {name for name, method in methods.items() if method.decorator_list}


def test_no_attribute_is_born_outside_init() -> None:
    found = list(classes())
    known = {node.name: node for _, node in found}
    late = []
    for path, node in found:
        names = declared(node, known)
        for item in node.body:
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                late += [f"{path}: {node.name}.{item.name} sets {name}" for name in own_names(item.body) if name not in names]
    assert not late
