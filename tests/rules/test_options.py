"""What is known of an option stands in its field: no other module lists options by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby

import pytest
from support.harness import ROOT
from tricorn.config.option import Option
from tricorn.config.options import OPTIONS

HOME = "src/config/options.py"
THEIRS = {
    "src/gunicorn.py": "gunicorn's settings, of which some have the same names",
    "src/compat/uvicorn_names.py": "uvicorn's modules and what is in them",
    "src/compat/uvicorn_parts.py": "uvicorn's names of the choices that an option has",
    "src/protocols/context.py": "slots of a class, of which some have the same names",
    "src/embedding/config.py": "uvicorn's keywords that mean something else than the options of their names",
}
"""Modules in which such names are somebody else's."""
PROTOCOLS = {"http", "ws"}
"""Options whose names are words of their own."""


def listed(source: str) -> Iterator[str]:
    """Every literal that holds the names of two options or more."""
    for node in ast.walk(ast.parse(source)):
        inner: list[ast.expr | None] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            inner = list(node.elts)
        elif isinstance(node, ast.Dict):
            inner = list(node.keys)
        names = [one.value for one in inner if isinstance(one, ast.Constant) and one.value in OPTIONS.keys() - PROTOCOLS]
        if isinstance(node, ast.expr) and len(names) >= 2:
            yield f"line {node.lineno}: {', '.join(map(str, names))}"


def test_a_list_is_found() -> None:
    assert list(listed('A = ("port", 7, "host")\nB = ["port"]\nC = {"uds": 1, "fd": 2}')) == [
        "line 1: port, host",
        "line 3: uds, fd",
    ]


def test_no_module_lists_options() -> None:
    paths = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.py")]
    names = {str(path.relative_to(ROOT)): path for path in paths}
    assert THEIRS.keys() | {HOME} <= names.keys()
    found = {name: list(listed(path.read_text())) for name, path in names.items() if name not in (HOME, *THEIRS)}
    assert {name: lists for name, lists in found.items() if lists} == {}


def test_each_section_is_one_run_of_fields() -> None:
    """An option in the middle of a section that named another would take those behind it along."""
    runs = [name for name, _ in groupby(known.section for known in OPTIONS.values())]
    assert len(runs) == len(set(runs)) == 10


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_what_a_field_says_is_consistent(name: str) -> None:
    known = OPTIONS[name]
    assert known.section
    others = {known.needs_option, known.excluded_by, *known.overruled_by} - {""}
    assert others <= OPTIONS.keys() - {name}
    assert known.completes in ("file", "dir")
    if known.development is not None:
        known.check(known.development)
        assert known.development != known.default
    if known.separator is not None:
        assert known.is_repeatable
    if known.secret or known.preloaded:
        assert known.kind is str
    assert not known.inapplicable.keys() & set(known.choices), "a value is both a choice and none"
    assert not known.is_inapplicable(known.default), "the default takes the place of what does not apply"
    assert not (known.worded and known.kind is not bool)
    assert (known.needs_package.keys() | set()) <= set(known.choices)


def test_options_of_one_section_stand_together() -> None:
    order = [known.section for known in OPTIONS.values()]
    starts = [section for before, section in zip(["", *order], order, strict=False) if section != before]
    assert len(starts) == len(set(starts))


def test_an_option_knows_its_name_and_type() -> None:
    assert all(isinstance(known, Option) and known.name == name for name, known in OPTIONS.items())
    assert (OPTIONS["host"].kind, OPTIONS["host"].is_repeatable) == (str, True)
    assert (OPTIONS["limit_max_rss"].kind, OPTIONS["limit_max_rss"].is_repeatable) == (int, False)


def test_exit_codes_have_one_home() -> None:
    """Elsewhere an exit code is a name: only success is a number."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "os._exit", "SystemExit"):
                found += [f"{path}:{node.lineno}" for one in node.args if isinstance(one, ast.Constant) and one.value]
            elif isinstance(node, ast.Assign | ast.AnnAssign) and path.name != "errors.py":
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                named = any(ast.unparse(target).lower().startswith("exit_") for target in targets)
                if named and isinstance(node.value, ast.Constant) and node.value.value:
                    found.append(f"{path}:{node.lineno}")
    assert found == []
