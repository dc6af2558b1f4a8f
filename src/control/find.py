"""Finds the supervisors that run on this machine."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from ..ipc.control import FILE, PREFIX, default_address, directories, has_abstract
from .connection import Connection, NotThere

VARIABLE = "TRICORN_CONTROL_SOCKET"
"""The environment variable of ``--control-socket``: in a container it tells both server and client where the socket is."""
_LISTENS = 0x10000
"""In the flags of /proc/net/unix: the socket accepts connections (__SO_ACCEPTCON in Linux' include/linux/net.h)."""


class Ambiguous(Exception):
    """Several supervisors run, and none was named; the text lists them."""


def connect(address: str | None = None, pid: int | None = None) -> Connection:
    """A connection to the supervisor that was named, or to the only one. Raises NotThere, Ambiguous."""
    if address is not None:
        return Connection(address)
    if pid is not None:
        return Connection(default_address(pid))
    if (path := os.environ.get(VARIABLE, "")) not in ("", "none"):
        return Connection(path)
    found = running()
    if not found:
        raise NotThere("no supervisor of this user runs here")
    if len(found) > 1:
        for one in found:
            one.close()
        lines = [f"--pid {one.pid}  {one.app}" for one in found]
        raise Ambiguous("\n  ".join(["several supervisors run; name one:", *lines]))
    return found[0]


def candidates() -> Iterator[str]:
    """The addresses at which supervisors may listen: abstract ones of all users, files of our own user."""
    if has_abstract():
        yield from _abstract()
    pattern = re.compile(re.escape(FILE).replace(r"\{pid\}", r"\d+"))
    for directory in directories():
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in filter(pattern.fullmatch, names):
            path = os.path.join(directory, name)
            try:
                found = os.lstat(path)
            except OSError:
                # Its supervisor has ended just now.
                continue
            # Only our own: any user who may write to the directory can have put something there.
            if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid():
                yield path


def _abstract() -> Iterator[str]:
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
            rows = [line.split(maxsplit=7) for line in file]
    except OSError:
        return
    seen = set()
    # Num RefCount Protocol Flags Type St Inode Path: proc(5).
    for row in rows[1:]:
        address = row[7].rstrip("\n") if len(row) == 8 else ""
        if re.fullmatch(re.escape(PREFIX) + r"\d+", address) and int(row[3], 16) & _LISTENS and address not in seen:
            seen.add(address)
            yield address


def running() -> list[Connection]:
    """A connection to each supervisor of this user. Root also finds those of others, if it has none of its own."""
    found: list[Connection] = []
    for address in candidates():
        try:
            found.append(Connection(address))
        except NotThere:
            continue
    mine = [one for one in found if one.user == os.geteuid()]
    for one in found:
        if mine and one not in mine:
            one.close()
    return mine or found
