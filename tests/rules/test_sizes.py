"""A file has 400 lines at most and a function 50, unless its docstring says: it is long because ..."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
MAX_FILE = 400
MAX_FUNCTION = 50
REASON = "long because"


def long_ones(source: str) -> Iterator[tuple[str, int]]:
    """What is too long without a reason, and how many lines it has; the file itself comes first, with an empty name."""
    tree = ast.parse(source)
    if (size := source.count("\n")) > MAX_FILE and REASON not in (ast.get_docstring(tree) or ""):
        yield "", size
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or 0) - node.lineno + 1
            if size > MAX_FUNCTION and REASON not in (ast.get_docstring(node) or ""):
                yield node.name, size


def test_what_is_long_says_why() -> None:
    found = [
        f"{path.relative_to(SRC)} {name}: {size} lines"
        for path in sorted(SRC.rglob("*.py"))
        for name, size in long_ones(path.read_text())
    ]
    assert not found, "\n".join(found)
