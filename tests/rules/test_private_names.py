"""No test reads or changes what an object keeps to itself: names that begin with an underscore."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
OTHERS = {"_create_unverified_context", "_exit", "_scheduled"}
"""Names of the standard library that have no public ones: what they do can't be had otherwise."""


def reached(tree: ast.Module) -> Iterator[str]:
    """Private attributes of other objects, and private names of the package's modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner not in ("self", "cls") and not ast.unparse(node.value).startswith("super()") and node.attr not in OTHERS:
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tricorn"):
            yield from (f"{node.lineno}: {alias.name}" for alias in node.names if alias.name[:1] == "_" != alias.name[1:2])


def test_no_test_reaches_into_private_names() -> None:
    # Applications of the tests may do what they like: some are there to do harm.
    files = [path for path in TESTS.rglob("*.py") if "apps" not in path.parts]
    found = [f"{path.relative_to(TESTS)}:{what}" for path in files for what in reached(ast.parse(path.read_text()))]
    assert not found, "\n".join(found)
