"""What all protocols share knows none of them, and an exchange none of HTTP/1.1's words on the wire."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.import_rules import imports_of, read_package

SOURCE = Path(__file__).parents[2] / "src"
PROTOCOLS = (".protocols.http1", ".protocols.http2", ".protocols.websocket")
WORDS = re.compile(r"HTTP/1|\\r\\n|%x|chunk|keep.alive|content-length|transfer-encoding", re.IGNORECASE)


def test_what_protocols_share_imports_none_of_them() -> None:
    package = read_package(SOURCE)
    shared = [name for name in package if name.startswith("protocols.") and name.count(".") == 1]
    assert "protocols.context" in shared
    found = [(name, target) for name in shared for target in imports_of(name, package[name], frozenset(package))]
    assert not [(name, target) for name, target in found if target.startswith(PROTOCOLS)]


@pytest.mark.parametrize("name", ["protocols.exchange", "protocols.scope"])
def test_spells_no_word_of_one_version(name: str) -> None:
    tree = ast.parse(read_package(SOURCE)[name])
    for node in ast.walk(tree):
        # Docstrings may say what a rule is about.
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    code = ast.unparse(tree)
    assert not WORDS.findall(code)
