"""What is shipped: a wheel with the package and nothing else at the top, and a source archive it can be built from."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.harness import ROOT
from tricorn import __version__
from tricorn.config import packages

WHEEL = f"tricorn-{__version__}-py3-none-any.whl"
INFO = f"tricorn-{__version__}.dist-info"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    # Built from a copy: setuptools writes build/ and *.egg-info beside the sources, and trusts what an earlier build left.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    # Without isolation the build needs no network, but only a setuptools of the version that pyproject.toml asks for can do it.
    recent = int(importlib.metadata.version("setuptools").split(".")[0]) >= 77 if find_spec("setuptools") else False
    command = [sys.executable, "-m", "build", *(["--no-isolation"] if recent else []), "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


def tracked() -> list[str]:
    """The files of the repository, as git knows them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [name for name in listed.split("\0") if name]


def names_in_wheel(archives: Path) -> set[str]:
    with zipfile.ZipFile(archives / WHEEL) as wheel:
        return set(wheel.namelist())


def test_the_wheel_contains_the_package_and_nothing_else(archives: Path) -> None:
    names = names_in_wheel(archives)
    assert {name.split("/")[0] for name in names} == {"tricorn", INFO}
    assert {"tricorn/py.typed", "tricorn/cli/main.py", "tricorn/supervisor/__init__.py", f"{INFO}/licenses/LICENSE"} <= names


def test_the_wheel_contains_every_module(archives: Path) -> None:
    modules = [name for name in tracked() if name.startswith("src/") and name.endswith((".py", ".html"))]
    wanted = {name.replace("src/", "tricorn/", 1) for name in modules}
    assert not wanted - names_in_wheel(archives)


def test_the_sdist_carries_its_licence_and_readme(archives: Path) -> None:
    with tarfile.open(archives / f"tricorn-{__version__}.tar.gz") as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "src/supervisor/__init__.py", "src/py.typed"} <= names


def test_the_wheel_declares_the_command(archives: Path) -> None:
    with zipfile.ZipFile(archives / WHEEL) as wheel:
        entry_points = wheel.read(f"{INFO}/entry_points.txt").decode()
    assert "tricorn = tricorn.cli.main:main" in entry_points


def test_messages_name_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*packages.EXTRAS.values(), "standard"} <= extras.keys()
    standard = {name for part in re.findall(r"[\w,]+(?=\])", " ".join(extras["standard"])) for name in part.split(",")}
    assert standard == {"dotenv", "speed", "titles", "websockets", "yaml"}
    assert packages.how_to_install("uvloop") == "pip install 'tricorn[standard]'"
