"""A supervisor that root has started executes nothing that the workers' user could have written (``--user``)."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator

from ...config.identity import Identity
from ...errors import ConfigError
from .command import Command, Surroundings, interpreter_of


def check_trust(identity: Identity | None, command: Command, around: Surroundings) -> None:
    """Raise ConfigError if ``identity``, the user that workers run as, can change what ``command`` would execute as root."""
    if identity is None:
        return
    for path in _executed(command, around):
        if os.path.lexists(path) and (identity.can_change(path) or _is_writable(path, identity)):
            raise ConfigError(f"the user of the workers (--user) can change {path}, which root would execute")


def _executed(command: Command, around: Surroundings) -> Iterator[str]:
    """The program, its script, and the directories in which it finds Python's modules, ours among them."""
    yield command.path
    yield sys.executable
    if (interpreter := interpreter_of(command.path)) is not None:
        yield interpreter
    yield from (os.path.join(around.directory, word) for word in command.arguments[1:2] if not word.startswith("-"))
    yield from (os.path.join(around.directory, entry) for entry in sys.path)
    # Another Python may have taken the place of the one that runs.
    environment = os.path.dirname(os.path.dirname(command.path))
    for packages in (os.path.join(environment, "lib", "python3*", "site-packages"), os.path.dirname(_package())):
        for found in glob.glob(packages):
            yield found
            yield os.path.join(found, "tricorn")
    yield os.path.join(environment, "pyvenv.cfg")


def _package() -> str:
    """The directory of our own package."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _is_writable(path: str, identity: Identity) -> bool:
    """Whether the user owns or may write the file or directory itself."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    by_group = found.st_gid in (identity.group, *identity.groups) and found.st_mode & 0o020
    return bool(found.st_uid == identity.user or by_group or found.st_mode & 0o002)
