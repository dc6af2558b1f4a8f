"""The server's working directory, remembered by the name that the operator uses.

A deployment may switch a symbolic link in that name to a new release, or replace the directory. A process stays in the old
directory then, so each reload looks the name up again.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ..errors import ConfigError
from .options import Config, flag


class NoDirectory(ConfigError):
    """The directory can't be entered."""


def current() -> str:
    """The current directory by the shell's name for it, which may contain symbolic links (``pwd -L``). Raises NoDirectory."""
    named = os.environ.get("PWD", "")
    try:
        # The variable may be out of date: chdir(2) does not change it.
        if os.path.isabs(named) and os.path.samefile(named, "."):
            return named
    except OSError:
        pass
    try:
        return os.getcwd()
    except OSError as error:
        raise NoDirectory(f"the current directory: {error.strerror}") from None


def check(config: Config) -> None:
    """Raise NoDirectory if a directory that an option names does not exist; relative to the current directory."""
    # Python can also import an application from an archive.
    if config.app_dir and not os.path.exists(config.app_dir):
        raise NoDirectory(f"{flag('app_dir')} {config.app_dir}: no such directory")
    for path in config.reload_dir if config.reload else ():
        if not os.path.isdir(path):
            raise NoDirectory(f"{flag('reload_dir')} {path}: no such directory")


class WorkingDirectory:
    """A directory known by its name; :meth:`enter` makes it the current one."""

    def __init__(self, path: str, named: str) -> None:
        """``path`` is absolute; ``named`` is the name in error messages."""
        self.path = path
        self._named = named
        self._entered: str | None = None
        """The real path that :meth:`enter` went to last."""

    def enter(self) -> None:
        """Look the name up and go there. Raises NoDirectory, and then the current directory stays."""
        try:
            os.chdir(self.path)
            found = os.getcwd()
        except OSError as error:
            raise NoDirectory(f"{self._named}: {error.strerror}") from None
        if self._entered not in (None, found):
            # `python -m` has put the old directory on the import path.
            sys.path[:] = [found if entry == self._entered else entry for entry in sys.path]
        if self._entered is not None:
            # Python caches directory contents by modification time, and a new directory may have the old one's time.
            sys.path_importer_cache.clear()
        self._entered = found

    def enter_again_if_gone(self) -> None:
        """If the current directory was deleted, enter the directory that has its name now, if there is one."""
        try:
            os.getcwd()
        except OSError:
            with suppress(NoDirectory):
                self.enter()
