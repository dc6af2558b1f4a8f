"""The directory that a server works in, by the name that the operator knows it by.

A deploy may switch a symbolic link in that name to a new release, or put a new directory in the place of an old one. The kernel
goes on with the old directory; so the name is looked up again for each reload.
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
    """The current directory as the shell calls it, which may contain symbolic links (``pwd -L``). Raises NoDirectory."""
    named = os.environ.get("PWD", "")
    try:
        # The variable is not to be trusted: whoever changes the directory of a process leaves it as it was.
        if os.path.isabs(named) and os.path.samefile(named, "."):
            return named
    except OSError:
        pass
    try:
        return os.getcwd()
    except OSError as error:
        raise NoDirectory(f"the current directory: {error.strerror}") from None


def check(config: Config) -> None:
    """Raises NoDirectory for a directory that an option names and that is not there, as seen from the current one."""
    named = [("app_dir", config.app_dir)] if config.app_dir else []
    named += [("reload_dir", path) for path in config.reload_dir if config.reload]
    for option, path in named:
        # An application may be imported from an archive, too.
        if not (os.path.isdir(path) or (option == "app_dir" and os.path.exists(path))):
            raise NoDirectory(f"{flag(option)} {path}: no such directory")


class WorkingDirectory:
    """Knows its directory by name; :meth:`enter` makes it the current one."""

    def __init__(self, path: str, named: str) -> None:
        """``path`` is absolute; ``named`` is what an error message calls it."""
        self.path = path
        self._named = named
        self._entered: str | None = None
        """Where :meth:`enter` led, without symbolic links."""

    def enter(self) -> None:
        """Look the name up and go there. Raises NoDirectory, and stays."""
        try:
            os.chdir(self.path)
            found = os.getcwd()
        except OSError as error:
            raise NoDirectory(f"{self._named}: {error.strerror}") from None
        if self._entered not in (None, found):
            # As with `python -m`, which puts the current directory on the import path.
            sys.path[:] = [found if entry == self._entered else entry for entry in sys.path]
        if self._entered is not None:
            # Python remembers what is in a directory. Behind a link there may be another one now, with the old one's time of
            # modification.
            sys.path_importer_cache.clear()
        self._entered = found

    def enter_again_if_gone(self) -> None:
        """If the current directory was deleted, enter the one that has its name now, if there is one."""
        try:
            os.getcwd()
        except OSError:
            with suppress(NoDirectory):
                self.enter()
