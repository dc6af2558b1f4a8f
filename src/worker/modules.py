"""With ``--reload``: what the application has imported, as far as reloading concerns it."""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ..ipc import channel

_OURS = str(Path(__file__).resolve().parent.parent) + "/"


@cache
def installed_directories() -> tuple[str, ...]:
    """Where packages are installed to, each with a final slash."""
    paths = sysconfig.get_paths()
    found = {paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(f"{path.rstrip('/')}/" for path in found))


@cache
def _library() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(f"{paths[name].rstrip('/')}/" for name in ("stdlib", "platstdlib"))


def is_installed(file: str) -> bool:
    """Whether the module of ``file`` comes from an installed package; one that is installed editable lies elsewhere."""
    return file.startswith(installed_directories())


def is_developers(file: str) -> bool:
    """Whether the developer may well edit ``file``: it belongs to no installed package, nor to Python or Tricorn."""
    return not file.startswith(("<", _OURS, *_library(), *installed_directories()))


class Report:
    """What of the loaded modules has not been told to the supervisor yet."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._count = 0

    def news(self, files: Iterable[str] = ()) -> Iterator[bytes]:
        """Messages of the developer's files (``files`` among them) and the installed modules that were imported since."""
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
    """The file that a module comes from, if there is one."""
    try:
        file = module.__spec__.origin if module.__spec__ is not None else module.__file__
    except Exception:
        # Anything can stand in sys.modules.
        return None
    return file if isinstance(file, str) and file.startswith("/") else None
