"""An exchange and its scope know no version of HTTP: no module of http1, and none of its words on the wire."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.import_rules import imports_of, read_package

SOURCE = Path(__file__).parents[2] / "src"
NEUTRAL = ("protocols.exchange", "protocols.scope", "protocols.stream", "protocols.application", "protocols.request")
WORDS = re.compile(r"HTTP/1|\\r\\n|%x|chunk|keep.alive|content-length|transfer-encoding", re.IGNORECASE)


@pytest.mark.parametrize("name", [*NEUTRAL, "protocols.writer"])
def test_imports_nothing_of_one_version(name: str) -> None:
    package = read_package(SOURCE)
    found = imports_of(name, package[name], frozenset(package))
    assert not [target for target in found if target.startswith(".protocols.http")]


@pytest.mark.parametrize("name", ["protocols.exchange", "protocols.scope"])
def test_spells_no_word_of_one_version(name: str) -> None:
    tree = ast.parse(read_package(SOURCE)[name])
    for node in ast.walk(tree):
        # Docstrings may say what a rule is about.
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    code = ast.unparse(tree)
    assert not WORDS.findall(code)
