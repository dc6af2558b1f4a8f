"""Which files are watched: by directories, by globs, and without the trees that are left out.

Globs mean what they mean to uvicorn (``uvicorn/supervisors/watchfilesreload.py``): they are matched from the right, as by
``Path.match``. ``*.py`` is included and ``.*``, ``.py[cod]``, ``.sw.*`` and ``~*`` are excluded, unless options say otherwise.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ...config.options import Config

logger = logging.getLogger("tricorn.error")

INCLUDED = ("*.py",)
EXCLUDED = (".*", ".py[cod]", ".sw.*", "~*")
IGNORED = frozenset(
    """
    .git .hg .svn .bzr .tox .nox .venv venv .idea .vscode .eggs .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
    .ipynb_checkpoints .terraform __pycache__ __pypackages__ node_modules bower_components site-packages
    """.split()  # noqa: SIM905
)
"""Directories without code that people edit. They hold more files than all others."""
ENVIRONMENT = "pyvenv.cfg"
"""The file that makes a directory a virtual environment (PEP 405), whatever its name."""
DEAF = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph vboxsf vmhgfs virtiofs prl_fs fakeowner grpcfuse osxfs sshfs".split()  # noqa: SIM905
)
"""File systems on which inotify(7) does not report what another machine writes. All ``fuse.*`` are like them."""

MAX_BEHIND_LINK = 20_000
"""Files and directories behind one symbolic link. With more, it is not followed: it may lead to a disk full of data, and
walking that takes minutes."""
Identity = tuple[int, int]
"""Identifies a directory: device, inode."""
State = tuple[int, int, int]
"""What changes when a file is saved, but not when only its permissions change: modification time in ns, size, inode."""


class Selection:
    """The directories and the files to watch, by the options. Paths are absolute."""

    def __init__(self, config: Config, settings: Iterable[str] = ()) -> None:
        """``settings`` are files that are watched wherever they are, and whatever is excluded."""
        self.settings = frozenset(settings)
        excluded = {path.resolve() for path in _directories(config.reload_exclude)}
        self._excluded_directories = {str(path) for path in excluded}
        without = [pattern for pattern in config.reload_exclude if not _is_directory(pattern)]
        without += [pattern for pattern in EXCLUDED if pattern not in config.reload_include]
        self._excluded = [_matcher(pattern) for pattern in without]
        including = [*config.reload_include, *(pattern for pattern in INCLUDED if pattern not in config.reload_exclude)]
        self._included = [(pattern, _matcher(pattern)) for pattern in including]
        self.imported: set[str] = set()
        """Files that the application imported, wherever they are."""
        self._told: set[str] = set()
        """Links for which the log has said that they are not followed."""
        given = {Path(name).resolve() for name in config.reload_dir}
        given |= {path.resolve() for path in _directories(config.reload_include)}
        found = given or {Path.cwd(), Path(config.app_dir or ".").resolve()}
        found = {path for path in found if not excluded & {path, *path.parents}}
        self.roots = sorted(str(path) for path in found if not found & set(path.parents))
        """The directories to watch; none lies in another. One that is missing may come to be."""

    def wants(self, path: str) -> bool:
        """Whether saving the file ``path`` is a reason to reload."""
        if path in self.settings:
            return True
        name = os.path.basename(path)
        matching = [pattern for pattern, matches in self._included if matches(path, name)]
        if not matching and path not in self.imported:
            return False
        # As with uvicorn: a file that is included by its full name is wanted even if a pattern excludes it.
        if any(path.endswith(pattern) for pattern in matching):
            return True
        if any(path.startswith(f"{directory}/") for directory in self._excluded_directories):
            return False
        return not any(matches(path, name) for matches in self._excluded)

    def prunes(self, directory: str) -> bool:
        """Whether nothing in ``directory`` or below it is of interest."""
        return (
            os.path.basename(directory) in IGNORED
            or (os.path.islink(directory) and os.path.basename(os.path.realpath(directory)) in IGNORED)
            or directory in self._excluded_directories
            or os.path.exists(os.path.join(directory, ENVIRONMENT))
        )

    def holds(self, directory: str) -> bool:
        """Whether ``directory`` lies below a root, with nothing pruned in between."""
        while directory not in self.roots:
            parent = os.path.dirname(directory)
            if parent == directory or self.prunes(directory):
                return False
            directory = parent
        return True

    def scan(self) -> tuple[set[str], dict[str, State]]:
        """The directories to watch and the state of every file wanted in them."""
        directories: set[str] = set()
        files: dict[str, State] = {}
        for root in self.roots:
            for directory, names in self._walk(root):
                directories.add(directory)
                for name in names:
                    path = os.path.join(directory, name)
                    if self.wants(path) and (state := state_of(path)) is not None:
                        files[path] = state
        for path in (*self.imported, *self.settings):
            if (state := state_of(path)) is not None and self.wants(path):
                files[path] = state
                directories.add(os.path.dirname(path))
        # A file of settings may be created later.
        directories.update(folder for folder in map(os.path.dirname, self.settings) if os.path.isdir(folder))
        return directories, files

    def awaited(self) -> dict[str, str]:
        """For each root that is missing, the directory in which it, or what it lies in, may come to be."""
        found = {}
        for root in self.roots:
            if not os.path.isdir(root):
                there = root
                while not os.path.isdir(there):
                    there = os.path.dirname(there)
                found[root] = there
        return found

    def _walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        """All directories below ``root`` that are not pruned, with the names of the files in them."""
        seen: set[Identity] = set()
        links: list[str] = []
        yield from self._walk_tree(root, seen, links)
        # Links come last, so that what lies below the root is known by its own name. Each directory is entered once, so
        # the walk ends even if links form a circle.
        while links:
            link = links.pop()
            found: list[tuple[str, list[str]]] = []
            size = 0
            for directory, names in self._walk_tree(link, seen, links):
                found.append((directory, names))
                size += 1 + len(names)
                if size > MAX_BEHIND_LINK:
                    self._give_up(link)
                    break
            else:
                yield from found

    def _walk_tree(self, top: str, seen: set[Identity], links: list[str]) -> Iterator[tuple[str, list[str]]]:
        """What lies below ``top`` without symbolic links; those that lead to directories are added to ``links``."""
        for directory, below, names in os.walk(top):
            identity = _identity(directory)
            if identity is None or identity in seen:
                below.clear()
                continue
            seen.add(identity)
            kept = [name for name in below if not self.prunes(os.path.join(directory, name))]
            below[:] = [name for name in kept if not os.path.islink(os.path.join(directory, name))]
            links += [os.path.join(directory, name) for name in kept if name not in below]
            yield directory, names

    def _give_up(self, link: str) -> None:
        if link not in self._told:
            self._told.add(link)
            text = "Not watching what is behind the link %s: more than %d files. --reload-dir watches it, if it is named"
            logger.warning(text, link, MAX_BEHIND_LINK)


def _matcher(pattern: str) -> Callable[[str, str], bool]:
    """A function of a path and its last part: whether they match. As ``Path.match``, but fast enough for thousands of files."""
    if "/" in pattern:
        return lambda path, name: Path(path).match(pattern)
    expression = re.compile(fnmatch.translate(pattern))
    return lambda path, name: expression.match(name) is not None


def _directories(patterns: Iterable[str]) -> set[Path]:
    """The directories among what ``patterns`` match from the current directory."""
    found = {Path(pattern) for pattern in patterns if _is_directory(pattern)}
    for pattern in patterns:
        # ".*" is meant for files. A pattern that is an absolute path was handled above.
        if pattern != ".*" and not os.path.isabs(pattern) and not _is_directory(pattern):
            found |= {path for path in Path().glob(pattern) if path.is_dir()}
    return found


def _is_directory(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:
        return False


def _identity(directory: str) -> Identity | None:
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def state_of(path: str) -> State | None:
    """The file's state; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def needs_polling(directory: str, mounts: str) -> bool:
    """Whether ``directory`` is on a file system where inotify does not report all changes.

    ``mounts`` is the text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)).
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")
        if len(point) > longest and (directory + "/").startswith(point.rstrip("/") + "/"):
            # Of two mounts on one point the later one is visible, and it is listed later.
            kind, longest = after.split()[0], len(point) - 1
    return kind in DEAF or kind.startswith("fuse.")
