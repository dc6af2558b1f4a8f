"""Binds, inherits and closes the listening sockets, which all workers share."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from ..config.frozen import Value
from ..config.identity import Identity, rights_for
from ..config.options import OPTIONS, Config, check_excluded, flag, is_set
from ..errors import SystemRefused
from ..ipc.text import WILDCARDS, url_host

ATTEMPTS = 10
"""Tries to find a port that is free on all hosts."""
FIRST_DESCRIPTOR = 3
"""The first descriptor that systemd passes (SD_LISTEN_FDS_START)."""

Inode = tuple[int, int]

logger = logging.getLogger("tricorn.error")


class ListenerError(SystemRefused):
    """A listener can't be opened."""


class Listeners(Value):
    """The listening sockets, non-blocking."""

    sockets: tuple[socket.socket, ...]
    files: tuple[tuple[str, Inode | None], ...] = ()
    """The UNIX sockets' files that we made, each with its device and inode."""
    identity: Identity | None = None
    """The user and groups of the workers, if they are not ours."""

    @classmethod
    def restored(cls, state: Mapping[str, Any], identity: Identity | None) -> Listeners:
        """Those whose :meth:`state` that is."""
        sockets = tuple(socket.socket(fileno=fd) for fd in state["fds"])
        return cls(sockets, tuple((path, inode and tuple(inode)) for path, inode in state["files"]), identity)

    def state(self, give: Callable[[int], int]) -> dict[str, Any]:
        """What another process needs to own them, fit for JSON; ``give`` is told of each descriptor."""
        return {"fds": [give(listener.fileno()) for listener in self.sockets], "files": [*self.files]}

    def urls(self, scheme: str = "http") -> list[str]:
        """Where to reach us, for people."""
        return [url(listener.family, listener.getsockname(), scheme) for listener in self.sockets]

    def close(self) -> None:
        """Close all sockets. Remove the files of UNIX sockets, except those that another server has replaced."""
        for listener in self.sockets:
            listener.close()
        for path, inode in self.files:
            try:
                with rights_for(path, self.identity):
                    if inode_of(path) == inode:
                        os.unlink(path)
            except OSError as error:
                # The directory may have been made read-only; the next start replaces it.
                logger.warning("The socket %s stays behind: %s", path, error.strerror)


def bind(config: Config, identity: Identity | None = None) -> Listeners:
    """Listen where ``config`` says: on all its ``bind``, its ``fd``, its ``uds``, what systemd gave, or ``host`` and ``port``.

    UNIX sockets are made for ``identity``. Raises ListenerError.
    """
    _warn_of_unused_sockets(config)
    if config.bind:
        return _bind_all(config, identity)
    _warn_of_overruled(config)
    if config.fd is not None:
        return Listeners((_inherit(config.fd, config.backlog),))
    if config.uds is not None:
        return _bind_unix(config.uds, config, identity)
    if given := inherited_from_systemd(os.environ):
        return Listeners(tuple(_inherit(fd, config.backlog, "LISTEN_FDS: descriptor") for fd in given))
    return Listeners(_bind_tcp(config))


def _warn_of_overruled(config: Config) -> None:
    for name, known in OPTIONS.items():
        stronger = next((other for other in known.overruled_by if is_set(config, other)), None)
        if stronger is not None and is_set(config, name):
            logger.warning("%s is not listened on, because %s is given; --bind takes both", known.flag, flag(stronger))


def _warn_of_unused_sockets(config: Config) -> None:
    """Warn of systemd's sockets beside a given address: they stay open, and clients would wait there for ever."""
    stronger = "--bind" if config.bind else "--uds" if config.uds is not None and config.fd is None else ""
    by_number = any(one.startswith("fd://") for one in config.bind)
    if stronger and not by_number and is_socket_activated(os.environ):
        logger.warning("The sockets of systemd (LISTEN_FDS) are not listened on, because %s is given; leave it out", stronger)


def is_socket_activated(environ: Mapping[str, str]) -> bool:
    """Whether systemd has passed sockets to this process."""
    return environ.get("LISTEN_FDS", "").isdigit() and environ.get("LISTEN_PID", "") == str(os.getpid())


def inherited_from_systemd(environ: MutableMapping[str, str]) -> list[int]:
    """The descriptors of systemd's socket activation, if they are for us. Removes the variables: they are not for children.

    From ``LISTEN_FDS`` and ``LISTEN_PID``: sd_listen_fds(3).
    """
    if not is_socket_activated(environ):
        return []
    count = environ["LISTEN_FDS"]
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    return list(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)))


def _bind_all(config: Config, identity: Identity | None) -> Listeners:
    check_excluded(config, "bind", "--bind says where to listen; say it there, too")
    made: list[Listeners] = []
    try:
        for address in config.bind:
            made.append(_bind_address(address, config, identity))
    except BaseException:
        for one in made:
            one.close()
        raise
    sockets = tuple(socket for one in made for socket in one.sockets)
    return Listeners(sockets, tuple(file for one in made for file in one.files), identity)


def _bind_address(address: str, config: Config, identity: Identity | None) -> Listeners:
    """Listen on one ``--bind`` address. Raises ListenerError that names it."""
    try:
        if address.startswith("unix:"):
            return _bind_unix(address.removeprefix("unix:"), config, identity)
        if address.startswith("fd://"):
            return Listeners((_inherit(int(address.removeprefix("fd://")), config.backlog),))
        host, _, port = address.rpartition(":")
        return Listeners(tuple(_bind_host(host, int(port), config.backlog)))
    except ListenerError as error:
        raise ListenerError(f"--bind {address}: {str(error).partition(': ')[2].replace('try --port', 'try port')}") from error


def bind_admin(config: Config, identity: Identity | None = None) -> Listeners:
    """Listen on ``--admin-bind``. Raises ListenerError."""
    assert config.admin_bind is not None
    try:
        return _bind_address(config.admin_bind, config, identity)
    except ListenerError as error:
        raise ListenerError(f"--admin-bind {str(error).removeprefix('--bind ')}") from error


def url(family: int, address: Any, scheme: str = "http") -> str:
    """``address`` (as of ``getsockname``) as a URL for people. A wildcard becomes the loopback address, so it can be opened."""
    if family == socket.AF_UNIX:
        return f"unix:{address.decode(errors='replace') if isinstance(address, bytes) else address}"
    host, port = address[:2]
    note = f" (on all IPv{6 if ':' in host else 4} addresses)" if host in WILDCARDS else ""
    return f"{scheme}://{url_host(host)}:{port}{note}"


# ------------------------------------------------------------------------------------------------------------------- TCP


def _bind_tcp(config: Config) -> tuple[socket.socket, ...]:
    for attempt in range(ATTEMPTS):
        found: list[socket.socket] = []
        try:
            for host in config.host:
                # With --port 0 the first address picks the port for all. If it is taken on the next one, another port is tried.
                port = found[0].getsockname()[1] if found else config.port
                found += _bind_host(host, port, config.backlog)
            return tuple(found)
        except ListenerError as error:
            for listener in found:
                listener.close()
            taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            if config.port != 0 or not found or not taken or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _bind_host(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listen on all addresses of ``host``: ``localhost`` may have one of IPv4 and one of IPv6."""
    found: list[socket.socket] = []
    problem: ListenerError | None = None
    for family, address in _resolve(host, port):
        if found:
            address = (address[0], found[0].getsockname()[1], *address[2:])
        try:
            found.append(_listen(family, address, backlog))
        except OSError as error:
            problem = _explain(host, address[1], error)
            problem.__cause__ = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for listener in found:
                    listener.close()
                raise problem from error
    # A name may have an address of a family that this machine does not support; one address that works is enough.
    if problem is not None and not found:
        raise problem
    return found


def _resolve(host: str, port: int) -> list[tuple[int, Any]]:
    """Families and addresses of ``host``, each once (a hosts file may list one twice)."""
    name = host.strip("[]")
    try:
        # ASCII goes as bytes, because for text Python loads its tables of international names.
        wanted = (name.encode("ascii") if name.isascii() else name) or None
        infos = socket.getaddrinfo(wanted, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or "not a host name"
        raise ListenerError(f"--host {host}: {cause}") from None
    return list(dict.fromkeys((int(info[0]), info[4]) for info in infos))


def _listen(family: int, address: Any, backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_nodelay(listener)
        if family == socket.AF_INET6:
            # Otherwise [::] would take the IPv4 port too, and --host 0.0.0.0 --host :: could not both be given.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        # Linux reports a port in use here rather than at bind() when both sides set SO_REUSEADDR.
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def set_nodelay(listener: socket.socket) -> None:
    """Set TCP_NODELAY, which all connections of ``listener`` inherit (tcp(7)): small writes leave at once.

    Otherwise a second write can wait 40 ms until the client has acknowledged the first. asyncio sets it for each connection,
    and only if the listener was made with IPPROTO_TCP; here one system call is enough for all.
    """
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        # An inherited stream socket may be of another protocol than TCP.
        with suppress(OSError):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _explain(host: str, port: int, error: OSError) -> ListenerError:
    if error.errno == errno.EADDRINUSE:
        # Imported here because it is seldom needed.
        from .port_owner import explain

        return ListenerError(f"--port {port}: {explain(host, port)}")
    causes = {
        errno.EACCES: f"--port {port}: permission denied" + (" (ports below 1024 need a privilege)" if port < 1024 else ""),
        errno.EADDRNOTAVAIL: f"--host {host}: not an address of this machine",
        errno.EAFNOSUPPORT: f"--host {host}: this machine does not speak that kind of address",
    }
    return ListenerError(causes.get(error.errno or 0, f"--host {host} --port {port}: {error.strerror or error}"))


# --------------------------------------------------------------------------------------------------- UNIX and inherited


def _bind_unix(path: str, config: Config, identity: Identity | None) -> Listeners:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with rights_for(path, identity):
            clear_stale(path)
            listener.bind(path)
            os.chmod(path, int(config.uds_permissions, 8))
            if identity is not None:
                # With its rights this changes nothing. Without them, only we can write here, so this is the file we made.
                os.chown(path, identity.user, identity.group, follow_symlinks=False)
            inode = inode_of(path)
        listener.listen(config.backlog)
        listener.setblocking(False)
    except BaseException as error:
        listener.close()
        if isinstance(error, OSError):
            raise ListenerError(f"--uds {path}: {error.strerror or error}") from error
        raise
    # An absolute path, because the working directory may change before the exit.
    return Listeners((listener,), ((os.path.abspath(path), inode),), identity)


def clear_stale(path: str, named: str = "--uds") -> None:
    """Remove a socket file on which no server answers. Raises ListenerError for any other file, OSError if that fails."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenerError(f"{named} {path}: exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Non-blocking: a live server whose backlog is full would make us wait. Now connect fails with EAGAIN instead.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise ListenerError(f"{named} {path}: another server owns it")


def inode_of(path: str) -> Inode | None:
    """What file ``path`` is now; None if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _inherit(fd: int, backlog: int, named: str = "--fd") -> socket.socket:
    """The stream socket that we inherit as ``fd`` (from systemd, circus). If it is only bound, it is made to listen."""
    try:
        listener = socket.socket(fileno=fd)
    except OSError as error:
        raise ListenerError(f"{named} {fd}: {_NO_SOCKET.get(error.errno or 0, str(error.strerror))}") from None
    try:
        _make_listen(listener, f"{named} {fd}", backlog)
    except ListenerError:
        # Not closed: it belongs to the operator.
        listener.detach()
        raise
    listener.set_inheritable(False)
    listener.setblocking(False)
    set_nodelay(listener)
    return listener


def _make_listen(listener: socket.socket, named: str, backlog: int) -> None:
    if listener.type != socket.SOCK_STREAM:
        raise ListenerError(f"{named}: not a stream socket")
    if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return
    try:
        # If it is not bound, the kernel picks a port, and the log shows it.
        listener.listen(backlog)
    except OSError:
        raise ListenerError(f"{named}: not a listening socket") from None


_NO_SOCKET = {errno.EBADF: "no such descriptor is open", errno.ENOTSOCK: "not a socket"}
