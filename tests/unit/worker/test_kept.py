"""Modules whose code is kept in memory until a worker imports them."""

from __future__ import annotations

import importlib
import inspect
import py_compile
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tricorn.config.options import Config
from tricorn.worker import kept
from tricorn.worker.kept import KeptModules


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with modules and a package in it; one imports the others."""
    folder = tmp_path / "keeps"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "one.py").write_text("from . import two\nVALUE = two.VALUE + 1\n\n\ndef line() -> int:\n    return 1 // 0\n")
    (folder / "two.py").write_text("from .inner import VALUE\n")
    (folder / "inner" / "__init__.py").write_text("VALUE = 41\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path.copy())
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "keeps"]:
        del sys.modules[name]


@pytest.mark.parametrize("compiled", [False, True])
def test_kept_modules_need_no_files(package: Path, compiled: bool) -> None:
    if compiled:
        for source in package.glob("*.py"):
            py_compile.compile(str(source))
    codes = [*kept.read("keeps")]
    assert {spec.name for spec, _ in codes} == {"keeps", "keeps.one", "keeps.two", "keeps.inner"}
    assert "keeps" not in sys.modules
    modules = KeptModules()
    modules.use()
    assert modules.find_spec("keeps") is None
    modules.fill(codes)
    shutil.rmtree(package)
    one = importlib.import_module("keeps.one")
    assert one.VALUE == 42
    assert one.__file__ == str(package / "one.py")
    assert inspect.getfile(one.line) == str(package / "one.py")
    with pytest.raises(ZeroDivisionError):
        one.line()
    with pytest.raises(ImportError):
        importlib.import_module("keeps.three")


def test_code_that_was_compiled_from_another_source_is_not_taken(package: Path) -> None:
    source = package / "two.py"
    py_compile.compile(str(source))
    source.write_text("VALUE = 1000\n")
    modules = KeptModules()
    modules.fill([*kept.read("keeps")])
    modules.use()
    assert importlib.import_module("keeps.one").VALUE == 1001


def test_what_is_not_there_cannot_be_read(package: Path) -> None:
    with pytest.raises(ImportError):
        next(kept.read("keeps.three"))
    assert [*kept.read("sys")] == []
    (package / "four.py").write_text("(")
    with pytest.raises(SyntaxError):
        next(kept.read("keeps.four"))


def test_modules_that_are_too_large_are_refused(package: Path) -> None:
    spec, _ = next(kept.read("keeps"))
    modules = KeptModules()
    with pytest.raises(ValueError, match="take"):
        modules.fill([(spec, bytes(kept.SIZE))])
    modules.use()
    assert importlib.import_module("keeps.one").VALUE == 42


def test_all_of_http2_and_websocket_is_kept() -> None:
    """What is missing would be looked for on the disk, where a deploy may have put another version."""
    found = {spec.name for name in kept.names(Config(app="a:b")) for spec, _ in kept.read(name)}
    source = Path(kept.__file__).parents[1] / "protocols"
    for room in ("http2", "websocket"):
        assert {f"tricorn.protocols.{room}.{path.stem}" for path in (source / room).glob("[!_]*.py")} <= found
    assert not any("http2" in name for name in kept.names(Config(app="a:b", http2=False)))
