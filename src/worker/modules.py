"""The modules that this process has imported: which come from installed packages, and which are the developer's own."""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from ..ipc import channel
from .loader import is_ours


@cache
def installed_directories() -> tuple[str, ...]:
    """The directories of installed packages, each with a final slash."""
    paths = sysconfig.get_paths()
    found = {paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(f"{path.rstrip('/')}/" for path in found))


@cache
def _library() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(f"{paths[name].rstrip('/')}/" for name in ("stdlib", "platstdlib"))


def is_installed(file: str) -> bool:
    """Whether the module of ``file`` comes from an installed package. (An editable package lies elsewhere, so it does not.)"""
    return file.startswith(installed_directories())


def is_developers(file: str) -> bool:
    """Whether the developer may edit ``file``: it belongs neither to an installed package nor to Python or Tricorn."""
    return not file.startswith(("<", *_library(), *installed_directories())) and not is_ours(file)


def is_of_package(name: str) -> bool:
    """Whether the loaded module ``name`` comes from an installed package."""
    file = file_of(sys.modules.get(name))
    return file is not None and is_installed(file)


def is_among(name: str, packages: Iterable[str]) -> bool:
    """Whether the module ``name`` is one of ``packages``, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


class ImportReport:
    """With ``--reload``: tells the supervisor which modules were imported since the last time."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._count = 0

    def news(self, files: Iterable[str] = ()) -> Iterator[bytes]:
        """Messages that name the developer's files (and ``files``) and the installed modules that were imported since."""
        if len(sys.modules) == self._count and not files:
            return
        self._count = len(sys.modules)
        installed: list[str] = []
        own = [file for file in files if is_developers(file) and file not in self._known]
        for name, module in list(sys.modules.items()):
            if name in self._known:
                continue
            self._known.add(name)
            file = file_of(module)
            if file is not None and is_installed(file):
                installed.append(name)
            elif file is not None and name != "__main__" and is_developers(file):
                own.append(file)
        self._known.update(own)
        for piece in channel.pieces(own):
            yield channel.encode(channel.LOADED, files=piece)
        for piece in channel.pieces(installed):
            yield channel.encode(channel.LOADED, installed=piece)
        yield channel.encode(channel.LOADED, complete=True)


def file_of(module: Any) -> str | None:
    """The path of the file that a module comes from; None if there is none."""
    try:
        file = module.__spec__.origin if module.__spec__ is not None else module.__file__
    except Exception:
        # Any object can stand in sys.modules.
        return None
    return file if isinstance(file, str) and file.startswith("/") else None
