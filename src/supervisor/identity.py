"""What the supervisor is to the system: its user and group, its umask, and the file that names its process."""

from __future__ import annotations

import grp
import logging
import os
import pwd
from collections.abc import Iterable

from ..config import Config, ConfigError

logger = logging.getLogger("tricorn.error")


class IdentityError(ConfigError):
    exit_code = 1


def drop(config: Config, files: Iterable[str]) -> None:
    """Become the user and the group that ``config`` names, whom ``files`` are given to first. Raises IdentityError.

    The listeners must be bound by then, and what only the first user may read must be read.
    """
    user, group = find(config)
    if user in (None, os.geteuid()) and group in (None, os.getegid()):
        return
    try:
        for file in files:
            os.chown(file, -1 if user is None else user, -1 if group is None else group)
        if group is not None:
            name = _name_of(user)
            # The groups that the first user is in would otherwise stay (initgroups(3)).
            os.setgroups([group]) if name is None else os.initgroups(name, group)
            os.setgid(group)
        if user is not None:
            os.setuid(user)
    except PermissionError as error:
        named = f"--user {config.user}" if config.user is not None else f"--group {config.group}"
        raise IdentityError(f"{named}: {error.strerror}; only root can become somebody else") from None


def find(config: Config) -> tuple[int | None, int | None]:
    """The numbers of the user and the group that ``config`` names. Raises IdentityError."""
    user = group = None
    if config.user is not None:
        try:
            known = pwd.getpwuid(int(config.user)) if config.user.isdigit() else pwd.getpwnam(config.user)
            user, group = known.pw_uid, known.pw_gid
        except KeyError:
            if not config.user.isdigit():
                raise IdentityError(f"--user {config.user}: there is no such user") from None
            user = int(config.user)
    if config.group is not None:
        try:
            group = int(config.group) if config.group.isdigit() else grp.getgrnam(config.group).gr_gid
        except KeyError:
            raise IdentityError(f"--group {config.group}: there is no such group") from None
    return user, group


def _name_of(user: int | None) -> str | None:
    try:
        return pwd.getpwuid(user).pw_name if user is not None else None
    except KeyError:
        return None


class PidFile:
    """Holds the supervisor's process id while it lives."""

    def __init__(self, path: str) -> None:
        """Write it. Raises IdentityError if it can't be written, or names another process that lives."""
        self.path = os.path.abspath(path)
        other = self._read()
        if other is not None and other != os.getpid() and _is_alive(other):
            raise IdentityError(f"--pid-file {path}: process {other}, which it names, is alive")
        new = f"{self.path}.{os.getpid()}"
        try:
            with open(new, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            # Whoever reads it finds a whole number, or the one before.
            os.replace(new, self.path)
        except OSError as error:
            raise IdentityError(f"--pid-file {path}: {error.strerror or error}") from None

    def remove(self) -> None:
        """At the end: remove it, if it still names us."""
        try:
            if self._read() == os.getpid():
                os.unlink(self.path)
        except OSError as error:
            # With --user we may not be allowed to; then it shall at least name nobody.
            logger.warning("--pid-file %s stays behind: %s", self.path, error.strerror)

    def _read(self) -> int | None:
        try:
            with open(self.path, encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
