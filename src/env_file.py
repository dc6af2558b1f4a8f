"""Reads a file of environment variables, as ``--env-file`` names one."""

from __future__ import annotations

import os

from .config import ConfigError


def read(path: str, home: str = "") -> dict[str, str]:
    """The variables that the file sets; ``path`` is seen from the directory ``home``. Raises ConfigError.

    The format is python-dotenv's; that ``${NAME}`` stands for another variable's value is its, too.
    """
    try:
        import dotenv
    except ImportError:
        raise ConfigError(f"--env-file {path}: python-dotenv is not installed (pip install tricorn[dotenv])") from None
    try:
        with open(os.path.join(home, path), encoding="utf-8") as file:
            found = dotenv.dotenv_values(stream=file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--env-file {path}: {getattr(error, 'strerror', None) or error}") from None
    return {name: value for name, value in found.items() if value is not None}
