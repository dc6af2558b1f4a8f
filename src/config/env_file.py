"""Reads a file of environment variables, as ``--env-file`` names one."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from ..errors import ConfigError
from . import packages


def read(path: str, home: str = "") -> dict[str, str]:
    """The variables that the file sets; ``path`` is seen from the directory ``home``. Raises ConfigError.

    The format is python-dotenv's; that ``${NAME}`` stands for another variable's value is its, too.
    """
    packages.require(f"--env-file {path}", "dotenv", "python-dotenv")
    import dotenv

    try:
        with open(os.path.join(home, path), encoding="utf-8") as file:
            found = dotenv.dotenv_values(stream=file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--env-file {path}: {getattr(error, 'strerror', None) or error}") from None
    return {name: value for name, value in found.items() if value is not None}


class EnvironmentFile:
    """Puts the variables of a file into an environment, and takes them out again when the file is read anew."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._added: dict[str, str] = {}
        """The variables that come from the file. What the operator has set goes before them."""

    def load(self, path: str | None, home: str = "") -> None:
        """Let the environment have what the file says now; nothing without a ``path``.

        Raises ConfigError, and then changes nothing.
        """
        before = self._added
        # What an earlier reading has set must not go into the values of this one (``${NAME}``).
        self._unload()
        try:
            found = read(path, home) if path is not None else {}
        except ConfigError:
            found = before
            raise
        finally:
            self._added = {name: value for name, value in found.items() if name not in self._environ}
            self._environ.update(self._added)

    def without(self) -> dict[str, str]:
        """The environment without what :meth:`load` put in, unless somebody has changed it since."""
        return {name: value for name, value in self._environ.items() if self._added.get(name) != value}

    def _unload(self) -> None:
        for name, value in self._added.items():
            if self._environ.get(name) == value:
                del self._environ[name]
        self._added = {}
