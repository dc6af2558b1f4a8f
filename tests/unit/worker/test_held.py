"""Modules that are kept as code until they are imported."""

from __future__ import annotations

import importlib
import inspect
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tricorn.config.options import Config
from tricorn.protocols import http2
from tricorn.worker import late
from tricorn.worker.held import Held


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules; one imports the other."""
    folder = tmp_path / "keeps"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "one.py").write_text("from . import two\nVALUE = two.VALUE + 1\n\n\ndef line() -> int:\n    return 1 // 0\n")
    (folder / "two.py").write_text("VALUE = 41\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = sys.meta_path.copy()
    yield folder
    assert sys.meta_path == before
    for name in [name for name in sys.modules if name.partition(".")[0] == "keeps"]:
        del sys.modules[name]


def test_held_modules_need_no_files(package: Path) -> None:
    held = Held()
    held.hold("keeps.one")
    held.hold("keeps.two")
    assert "keeps.one" in held
    assert "keeps.one" not in sys.modules
    shutil.rmtree(package)
    one = importlib.import_module("keeps.one")
    assert one.VALUE == 42
    assert one.__file__ == str(package / "one.py")
    assert inspect.getfile(one.line) == str(package / "one.py")
    assert "keeps.one" not in held
    with pytest.raises(ZeroDivisionError):
        one.line()


def test_what_is_not_there_cannot_be_held(package: Path) -> None:
    held = Held()
    with pytest.raises(ImportError):
        held.hold("keeps.three")
    with pytest.raises(ImportError):
        held.hold("sys")
    (package / "four.py").write_text("(")
    with pytest.raises(SyntaxError):
        held.hold("keeps.four")


def test_all_of_http2_is_held() -> None:
    """What is missing would be looked for on the disk, where a deploy may have put another version."""
    folder = Path(http2.__path__[0])
    there = {f"tricorn.protocols.http2.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"}
    assert set(late.HTTP2) == there
    assert not there.intersection(late.names(Config(app="a:b", http2=False)))
