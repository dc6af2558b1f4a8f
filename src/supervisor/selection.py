"""Which files are watched: the directories, the globs, and the trees that are passed over.

Globs mean what they mean to uvicorn (``uvicorn/supervisors/watchfilesreload.py``): they are matched from the right, as by
``Path.match``. ``*.py`` is included and ``.*``, ``.py[cod]``, ``.sw.*`` and ``~*`` are excluded unless it is asked otherwise.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..config import Config

INCLUDED = ("*.py",)
EXCLUDED = (".*", ".py[cod]", ".sw.*", "~*")
IGNORED = frozenset(
    """
    .git .hg .svn .bzr .tox .nox .venv venv .idea .vscode .eggs .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
    .ipynb_checkpoints .terraform __pycache__ __pypackages__ node_modules bower_components site-packages
    """.split()  # noqa: SIM905
)
"""Directories in which nobody edits code by hand, and which hold more files than all others."""
ENVIRONMENT = "pyvenv.cfg"
"""The file that makes a directory a virtual environment (PEP 405), whatever its name."""
DEAF = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph vboxsf vmhgfs virtiofs prl_fs fakeowner grpcfuse osxfs sshfs".split()  # noqa: SIM905
)
"""File systems on which inotify(7) does not hear of what another machine writes; ``fuse.*`` beside them."""

State = tuple[int, int, int]
"""What changes when a file is saved, and not when only its permissions do: modification time in ns, size, inode."""


class Selection:
    """The directories and the files of interest, as the options say; paths are absolute."""

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
        given = {Path(name).resolve() for name in config.reload_dir}
        given |= {path.resolve() for path in _directories(config.reload_include)}
        found = {path for path in given if path.is_dir()} or {Path.cwd(), Path(config.app_dir or ".").resolve()}
        found = {path for path in found if not excluded & {path, *path.parents}}
        self.roots = sorted(str(path) for path in found if not found & set(path.parents))
        """The directories to watch; none lies in another."""

    def wants(self, path: str) -> bool:
        """Whether saving the file ``path`` is a reason to reload."""
        if path in self.settings:
            return True
        name = os.path.basename(path)
        matching = [pattern for pattern, matches in self._included if matches(path, name)]
        if not matching and path not in self.imported:
            return False
        # As with uvicorn: a file that is included by its name is wanted, whatever is excluded.
        if any(path.endswith(pattern) for pattern in matching):
            return True
        if any(path.startswith(f"{directory}/") for directory in self._excluded_directories):
            return False
        return not any(matches(path, name) for matches in self._excluded)

    def prunes(self, directory: str) -> bool:
        """Whether nothing in ``directory`` or below it is of interest."""
        return (
            os.path.basename(directory) in IGNORED
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
        # A file of settings may yet come to be.
        directories.update(folder for folder in map(os.path.dirname, self.settings) if os.path.isdir(folder))
        return directories, files

    def _walk(self, root: str) -> Iterator[tuple[str, list[str]]]:
        # Symbolic links are not followed: they may lead anywhere, also in circles. What is imported through one is reported.
        for directory, below, names in os.walk(root):
            below[:] = [name for name in below if not self.prunes(os.path.join(directory, name))]
            yield directory, names


def _matcher(pattern: str) -> Callable[[str, str], bool]:
    """Whether a path with its last part matches: as ``Path.match``, but that thousands of files take no noticeable time."""
    if "/" in pattern:
        return lambda path, name: Path(path).match(pattern)
    expression = re.compile(fnmatch.translate(pattern))
    return lambda path, name: expression.match(name) is not None


def _directories(patterns: Iterable[str]) -> set[Path]:
    """The directories among what ``patterns`` match from the current directory."""
    found = {Path(pattern) for pattern in patterns if _is_directory(pattern)}
    for pattern in patterns:
        # Not ".*", which is about files; and a pattern that is a path from the root was looked at above.
        if pattern != ".*" and not os.path.isabs(pattern) and not _is_directory(pattern):
            found |= {path for path in Path().glob(pattern) if path.is_dir()}
    return found


def _is_directory(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:
        return False


def state_of(path: str) -> State | None:
    """The file's state; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def needs_polling(directory: str, mounts: str) -> bool:
    """Whether ``directory`` is on a file system where inotify is deaf.

    ``mounts`` is the text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)).
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")
        if len(point) > longest and (directory + "/").startswith(point.rstrip("/") + "/"):
            # Of two mounts on one point the later is seen, and it comes later.
            kind, longest = after.split()[0], len(point) - 1
    return kind in DEAF or kind.startswith("fuse.")
