"""The user and group that the service runs as (``--user``, ``--group``), and the rights with which files are opened for it.

A supervisor that root starts with ``--user`` stays root, so that it can reopen what only root may open: logs, the TLS key,
low ports. Every process that it forks becomes the service's user at once. That user may own directories on the way to a file,
and may put symbolic links there at any time; root must not follow them. So there is one rule. If only root can change where a
path leads, the supervisor opens it as root. Otherwise it opens the path with the rights of the service's user, and a link
gives that user nothing new.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConfigError, SystemRefused
from .frozen import Value
from .options import Config

MAX_LINKS = 40
"""The most symbolic links that the kernel follows in one path (path_resolution(7))."""
MAX_ID = 2**32 - 2
"""The largest user or group id; for setuid(2) and chown(2), 2**32 - 1 means "leave it as it is"."""


class IdentityError(SystemRefused):
    """This process may not become another user or group."""


class Identity(Value):
    """The user that the service runs as, with its groups."""

    user: int
    group: int
    groups: tuple[int, ...]

    def become(self) -> None:
        """Become this user permanently. Raises PermissionError."""
        os.setgroups(self.groups)
        os.setgid(self.group)
        os.setuid(self.user)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Inside, the process has only this user's rights. For processes without threads. Raises PermissionError."""
        if os.geteuid() == self.user:
            # We have these rights already: the context is nested, or the service runs as root.
            yield
            return
        user, group, groups = os.geteuid(), os.getegid(), os.getgroups()
        try:
            os.setgroups(self.groups)
            os.setegid(self.group)
            os.seteuid(self.user)
            yield
        finally:
            os.seteuid(user)
            os.setegid(group)
            os.setgroups(groups)

    def can_change(self, path: str) -> bool:
        """Whether this user could change where ``path`` leads, by a directory or a symbolic link on the way."""
        here, names = "/", os.path.abspath(path).split("/")[::-1]
        links = 0
        while names:
            if here == f"/proc/{os.getpid()}/fd":
                # A descriptor of ours, for instance /dev/stderr: the process that started us opened it.
                return False
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = os.path.dirname(here)
                continue
            entry = os.path.join(here, name)
            try:
                if self._can_replace(here, entry):
                    return True
                if not stat.S_ISLNK(os.lstat(entry).st_mode):
                    here = entry
                    continue
                target = os.readlink(entry)
            except OSError:
                # It does not exist, and only root can create it.
                return False
            links += 1
            if links > MAX_LINKS:
                return True
            here = "/" if target.startswith("/") else here
            names += target.split("/")[::-1]
        return False

    def _can_replace(self, directory: str, entry: str) -> bool:
        """Whether this user, or another user but root, may replace ``entry``. Raises OSError."""
        found = os.stat(directory)
        if found.st_uid != 0:
            return True
        by_group = found.st_mode & stat.S_IWGRP and found.st_gid in self.groups
        if not by_group and not found.st_mode & stat.S_IWOTH:
            return False
        if found.st_mode & stat.S_ISVTX and os.path.lexists(entry):
            # In a sticky directory everybody may create links, but only root can move a directory of root's (unlink(2)).
            inner = os.lstat(entry)
            return not (stat.S_ISDIR(inner.st_mode) and inner.st_uid == 0)
        return True


@contextmanager
def rights_for(path: str, identity: Identity | None) -> Iterator[None]:
    """Open, create or remove ``path`` inside this context: it has root's rights only if ``identity`` can't change the path."""
    if identity is None or not identity.can_change(path):
        yield
    else:
        with identity.acting():
            yield


def find(user: str | None, group: str | None) -> Identity | None:
    """The identity that ``--user`` and ``--group`` name; None if we have it already. Raises ConfigError."""
    if user is None and group is None:
        return None
    found = _find_user(user, group) if user is not None else (os.geteuid(), None, os.getegid())
    number, name, own_group = found
    group_number = _find_group(group) if group is not None else own_group
    if (number, group_number) == (os.geteuid(), os.getegid()):
        return None
    groups = os.getgrouplist(name, group_number) if name is not None else [group_number]
    identity = Identity(number, group_number, tuple(groups))
    option = f"--user {user}" if user is not None else f"--group {group}"
    if os.geteuid() != 0:
        raise IdentityError(f"{option}: only root can become somebody else")
    try:
        with identity.acting():
            return identity
    except PermissionError as error:
        # Root of a container that has no right to change users.
        raise IdentityError(f"{option}: {error.strerror}; only root can become somebody else") from None


def of(config: Config) -> Identity | None:
    """Like :func:`find`, with the options of a configuration."""
    return find(config.user, config.group)


def _find_user(text: str, group: str | None) -> tuple[int, str | None, int]:
    """Number, name and primary group of the user; the group is 0 if ``group`` decides it."""
    number = _number(text)
    try:
        known = pwd.getpwuid(number) if number is not None else pwd.getpwnam(text)
    except (KeyError, ValueError):
        if number is None:
            raise ConfigError(f"--user {text}: there is no such user") from None
        if group is None:
            # We do not guess a group, and root's groups must not stay.
            raise ConfigError(f"--user {text}: no entry in the user database says its group; give --group") from None
        return number, None, 0
    return known.pw_uid, known.pw_name, known.pw_gid


def _find_group(text: str) -> int:
    number = _number(text)
    if number is not None:
        return number
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise ConfigError(f"--group {text}: there is no such group") from None


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    return number if (number := int(text[:20])) <= MAX_ID else None
