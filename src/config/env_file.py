"""Reads the file of environment variables that ``--env-file`` names."""

from __future__ import annotations

import io
import os
from collections.abc import MutableMapping

from ..errors import ConfigError
from . import packages, text_file


def read(path: str, home: str = "") -> dict[str, str]:
    """The variables that the file sets; ``path`` is relative to the directory ``home``. Raises ConfigError.

    The format is python-dotenv's, in which ``${NAME}`` stands for another variable's value.
    """
    packages.require(f"--env-file {path}", "dotenv", "python-dotenv")
    import dotenv

    try:
        found = dotenv.dotenv_values(stream=io.StringIO(text_file.read(os.path.join(home, path))))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--env-file {path}: {getattr(error, 'strerror', None) or error}") from None
    return {name: value for name, value in found.items() if value is not None}


class EnvironmentFile:
    """Puts the variables of a file into an environment, and replaces them when the file is read again."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._added: dict[str, str] = {}
        """The variables that came from the file. A variable that the operator has set wins over the file."""

    def load(self, path: str | None, home: str = "") -> None:
        """Update the environment to what the file says now; without a ``path``, to nothing of a file.

        Raises ConfigError, and then the environment stays as it was.
        """
        before = self._added
        # The last reading's variables must not enter the values of this one (``${NAME}``).
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
        """The environment without the variables that :meth:`load` put in, unless they were changed since."""
        return {name: value for name, value in self._environ.items() if self._added.get(name) != value}

    def _unload(self) -> None:
        for name, value in self._added.items():
            if self._environ.get(name) == value:
                del self._environ[name]
        self._added = {}
