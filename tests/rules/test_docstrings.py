"""Every public class and function says what it is for.

A method that a protocol declares (one of this package's, or asyncio's) is documented there, and need not be at each class that
has it. So is one that overrides a method of a base class in this package.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> dict[str, ast.Module]:
    return {str(path.relative_to(SRC)): ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}


def bases(node: ast.ClassDef) -> set[str]:
    """``Protocol``, ``asyncio.Protocol``: as they are written."""
    return {ast.unparse(base).partition("[")[0] for base in node.bases}


def is_documented(node: ast.ClassDef | Function) -> bool:
    return ast.get_docstring(node) is not None


def is_setter(node: Function) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == "setter" for one in node.decorator_list)


def documented_methods(classes: list[ast.ClassDef]) -> set[str]:
    return {item.name for node in classes for item in node.body if isinstance(item, Function) and is_documented(item)}


def undocumented(tree: ast.Module, known: dict[str, ast.ClassDef], declared: set[str]) -> Iterator[str]:
    """The public classes, functions and methods of a module that say nothing."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            if not is_documented(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                inherited = documented_methods([known[name] for name in bases(node) if name in known])
                its = declared if "Protocol" not in bases(node) else set()
                methods = [item for item in node.body if isinstance(item, Function) and not item.name.startswith("_")]
                for item in methods:
                    if not (is_documented(item) or is_setter(item) or item.name in its | inherited):
                        yield f"{node.name}.{item.name}"


def test_every_public_class_and_function_has_a_docstring() -> None:
    trees = modules()
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    known = {node.name: node for node in classes}
    declared = documented_methods([node for node in classes if "Protocol" in bases(node)]) | {
        name for name in [*dir(asyncio.Protocol), *dir(asyncio.Transport)] if not name.startswith("_")
    }
    found = [f"{path}: {name}" for path, tree in trees.items() for name in undocumented(tree, known, declared)]
    assert not found, "\n".join(found)
