"""Whether the installed packages are still those that this process has imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from . import modules

State = tuple[int, int]
"""The state of a file or directory: when it was changed, in nanoseconds, and its size."""


class Freshness:
    """What the installed packages were like when they were imported."""

    def __init__(self) -> None:
        self._files: dict[str, State | None] = {}

    def remember(self) -> None:
        """Remember the files of all installed modules that are loaded and not remembered yet."""
        for module in list(sys.modules.values()):
            file = modules.file_of(module)
            if file is not None and modules.is_installed(file):
                self._files.setdefault(file, _state(file))
        # Installing or removing a package changes the directory. Other packages may import it only if it is there.
        for directory in modules.installed_directories():
            self._files.setdefault(directory, _state(directory))

    @property
    def is_lost(self) -> bool:
        """Whether a process that imports all modules itself would get others."""
        return any(_state(path) != state for path, state in self._files.items()) or _is_shadowed()


def _is_shadowed() -> bool:
    """Whether the developer has made a module that hides an installed one of the same name."""
    tops = {name.partition(".")[0] for name in list(sys.modules) if modules.is_of_package(name)}
    for directory in sys.path:
        if modules.is_installed(f"{directory}/"):
            return False
        if modules.is_developers(f"{directory}/") and tops & set(_modules_in(directory or ".")):
            return True
    return False


def _modules_in(directory: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith((".py", ".so")) or os.path.exists(os.path.join(entry.path, "__init__.py")):
            yield entry.name.partition(".")[0]


def _state(path: str) -> State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
